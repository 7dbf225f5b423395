"""Keeps one Python client for many calls, which its command line cannot. For tests.

    session.py HOST:PORT TIMEOUT_MS [CERT KEY CA]

CERT, KEY and CA are the files of mutual TLS. Each line of the standard input is a call, `create ID EMAIL NAME` or `get ID`. Each line of the
standard output is the outcome of one.
"""

import asyncio
import sys

import capnp  # type: ignore[import-untyped]
from users_client import Invalid, TlsFiles, UsersClient, UsersError
from users_client.command_line import OUTCOMES


async def outcome_of(users: UsersClient, verb: str, id: str, *fields: str) -> str:
    try:
        if verb == "create":
            email, name = fields
            created = await users.create(id=id, email=email, name=name)
            return "replayed" if created.replayed else "created"
        return "found" if await users.get(id) else "notFound"
    except Invalid:
        return "invalid"
    except UsersError as error:
        outcome, _ = OUTCOMES[type(error)]
        return outcome


async def main(address: str, timeout_ms: str, *files: str) -> None:
    tls = TlsFiles(*files) if files else None
    async with UsersClient(address, int(timeout_ms) / 1000, tls=tls) as users:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await outcome_of(users, *line.split()), flush=True)


if __name__ == "__main__":
    asyncio.run(capnp.run(main(*sys.argv[1:])))
