"""Calls everything that a reader must not reach, with nothing but pycapnp. For tests.

    raw_reader.py HOST PORT SCHEMA CERT KEY CA

Prints a line for each call: what was called, and how it was answered.
"""

import asyncio
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import capnp  # type: ignore[import-untyped]

capnp.remove_import_hook()

METHODS = ["createUser", "getUser", "listUsers", "health", "findUser", "directory", "createUsers"]
"""Of `Users`, by their ordinals."""


def forged(interface: Any) -> Any:
    """The interface with the same number, and as many methods as `Users` has."""
    methods = "".join(f"m{ordinal} @{ordinal} () -> ();" for ordinal in range(len(METHODS)))
    text = f"@0xb8f1c2d3e4a59607; interface Forged @{interface.schema.node.id:#x} {{ {methods} }}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "forged.capnp")
        file.write_text(text)
        return capnp.SchemaParser().load(str(file)).Forged


async def answer(call: Any) -> str:
    try:
        await call
        return "answered"
    except capnp.KjException as error:
        return str(error.type).lower()


async def main(host: str, port: str, path: str, cert: str, key: str, ca: str) -> None:
    schema = capnp.load(path)
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    stream = await capnp.AsyncIoStream.create_connection(host, int(port), ssl=context)
    bootstrap = capnp.TwoPartyClient(stream).bootstrap()

    users = bootstrap.cast_as(schema.Users)
    for method in METHODS:
        print("Users", method, await answer(getattr(users, method)()))
    create = users.createUser_request()
    create.email, create.name = "intruder@example.com", "Intruder"
    print("Users", "create", await answer(create.send()))

    directory = bootstrap.cast_as(forged(schema.UserDirectory))
    for ordinal, method in enumerate(METHODS):
        print("UserDirectory", ordinal, await answer(getattr(directory, f"m{ordinal}")()))


if __name__ == "__main__":
    asyncio.run(capnp.run(main(*sys.argv[1:])))
