"""Keeps one Python client for many calls, which its command line cannot. For tests.

    session.py HOST:PORT TIMEOUT_MS [CERT KEY CA]

CERT, KEY and CA are the files of mutual TLS. Each line of the standard input is a call, `create ID EMAIL NAME`,
`create_many ID EMAIL NAME ID EMAIL NAME ...` or `get ID`. Each line of the standard output is the outcome of one, or
the outcomes of many users.
"""

import asyncio
import sys

import capnp  # type: ignore[import-untyped]
from users_client import Created, Invalid, NewUser, TlsFiles, UsersClient, UsersError
from users_client.command_line import OUTCOMES


def name_of(outcome: Created | UsersError) -> str:
    if isinstance(outcome, Created):
        return "replayed" if outcome.replayed else "created"
    if isinstance(outcome, Invalid):
        return "invalid"
    name, _ = OUTCOMES[type(outcome)]
    return name


async def outcome_of(users: UsersClient, verb: str, *words: str) -> str:
    try:
        if verb == "create":
            id, email, name = words
            return name_of(await users.create(id=id, email=email, name=name))
        if verb == "create_many":
            fields = zip(words[::3], words[1::3], words[2::3], strict=True)
            rows = [NewUser(id=id, email=email, name=name) for id, email, name in fields]
            return " ".join(map(name_of, await users.create_many(rows)))
        (id,) = words
        return "found" if await users.get(id) else "notFound"
    except UsersError as error:
        return name_of(error)


async def main(address: str, timeout_ms: str, *files: str) -> None:
    tls = TlsFiles(*files) if files else None
    async with UsersClient(address, int(timeout_ms) / 1000, tls=tls) as users:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await outcome_of(users, *line.split()), flush=True)


if __name__ == "__main__":
    asyncio.run(capnp.run(main(*sys.argv[1:])))
