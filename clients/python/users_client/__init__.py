"""The users service from Python: a client on pycapnp (asyncio).

Everything runs inside `capnp.run(...)`, as pycapnp requires:

    import asyncio
    import capnp
    from users_client import UsersClient

    async def main():
        async with UsersClient("127.0.0.1:4001") as users:
            created = await users.create(email="jane@example.com", name="Jane Doe")
            print(created.user.id, created.replayed)

    asyncio.run(capnp.run(main()))

Many users are created by `users.create_many([NewUser("jane@example.com", "Jane Doe"), ...])`, which returns a
`Created` or an error for each.

A service that wants mutual TLS gets it with `UsersClient(address, tls=TlsFiles(cert, key, ca))`. The package
is also a command line: `python -m users_client --help`.
"""

from .client import UsersClient
from .errors import (
    EmailTaken,
    IdConflict,
    Invalid,
    Refused,
    Revoked,
    Unavailable,
    Unimplemented,
    UnknownOutcome,
    UsersError,
)
from .messages import MAX_TEXT_BYTES
from .schema import load_schema
from .tls import TlsFiles
from .types import Created, FieldError, NewUser, Page, User

__all__ = [
    "MAX_TEXT_BYTES",
    "Created",
    "EmailTaken",
    "FieldError",
    "IdConflict",
    "Invalid",
    "NewUser",
    "Page",
    "Refused",
    "Revoked",
    "TlsFiles",
    "Unavailable",
    "Unimplemented",
    "UnknownOutcome",
    "User",
    "UsersClient",
    "UsersError",
    "load_schema",
]
