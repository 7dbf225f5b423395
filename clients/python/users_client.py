"""The users service from Python: a client on pycapnp (asyncio), and a command line.

    pip install -r requirements.txt
    python -m users_client create --email jane@example.com --name "Jane Doe"

To use it in a project of yours, copy two files of this repository into one folder of the project:
`clients/python/users_client.py`, which is this file, and `schema/users.capnp`, the contract. The
contract may also lie elsewhere, where the variable USERS_SCHEMA says. Everything runs inside
`capnp.run(...)`, as pycapnp requires:

    async def main():
        async with UsersClient("127.0.0.1:4001") as users:
            created = await users.create(email="jane@example.com", name="Jane Doe")
            print(created.user.id, created.replayed)

    asyncio.run(capnp.run(main()))

A service that wants mutual TLS gets it with `UsersClient(address, tls=TlsFiles(cert, key, ca))`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import capnp  # type: ignore[import-untyped]

capnp.remove_import_hook()

T = TypeVar("T")

_REVOKED = "the directory has been revoked"

CONNECT_TIMEOUT = 0.3
"""Seconds that connecting may take."""

FIRST_ANSWER_TIMEOUT = 1.0
"""Seconds that the first answer on a connection may take. A handshake of TLS may take as long."""

MAX_TEXT_BYTES = 96 * 1024
"""Bytes of the texts of a request, in UTF-8 and in all. The contract says so ("Limits"): a longer message
would cost the connection, and with it every other call."""


def load_schema(path: str | os.PathLike[str] | None = None) -> Any:
    """Loads the contract: the file `path`, or else the one that the variable USERS_SCHEMA names, or else
    `users.capnp` beside this file. Where that is missing, it is the one of this repository."""
    here = Path(__file__).resolve().parent
    candidates = [path] if path else [os.environ.get("USERS_SCHEMA"), here / "users.capnp"]
    candidates.append(here.parent.parent / "schema" / "users.capnp")
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return capnp.load(str(candidate))
    raise FileNotFoundError("users.capnp is neither beside users_client.py nor where USERS_SCHEMA says")


@dataclass(frozen=True)
class TlsFiles:
    """Mutual TLS, by files in PEM: the caller's certificate with what leads to its CA, its private key, and
    the CAs that the service's certificate may be of. The service must be called by a name, or an IP
    address, that its certificate has."""

    cert: str
    key: str
    ca: str

    def context(self) -> ssl.SSLContext:
        """Reads the files. Raises ValueError when they cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Checks the service's certificate, and its name.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # As Python 3.13 does by itself.
        for file in (self.cert, self.key, self.ca):
            try:
                Path(file).read_bytes()
            except OSError as error:
                raise ValueError(str(error)) from error
        try:
            # With a password, an encrypted key is an error. Without one, OpenSSL asks at the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except OSError as error:
            raise ValueError(f"{self.cert} and {self.key} are no certificate and its key: {error}") from error
        try:
            context.load_verify_locations(self.ca)
        except OSError as error:
            raise ValueError(f"{self.ca} has no certificate of a CA: {error}") from error
        return context


@dataclass(frozen=True)
class User:
    """A stored user."""

    id: str
    email: str
    name: str


@dataclass(frozen=True)
class Created:
    """A user that is stored. `replayed`: an earlier call with the same id, email and name stored it; never
    said of what this call itself may have stored by an attempt whose answer was lost."""

    user: User
    replayed: bool


@dataclass(frozen=True)
class Page:
    """Some users in the order of their ids. The last page has an empty `next_page_token`."""

    users: list[User]
    next_page_token: str


@dataclass(frozen=True)
class FieldError:
    """One fault of a request. With an empty `field`, the request as a whole is at fault."""

    field: str
    reason: str


class UsersError(Exception):
    """The base of every error of a call."""


class Refused(UsersError):
    """The service refuses the request; repeating it does not help."""


class Invalid(Refused):
    """The request breaks rules; `errors` lists all of its faults."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{e.field} {e.reason}" for e in errors))
        self.errors = errors


class EmailTaken(Refused):
    """Another user has this e-mail address."""


class IdConflict(Refused):
    """The id belongs to a user with another email or name."""


class Revoked(Refused):
    """The directory by which users are read has been revoked."""


class Unavailable(UsersError):
    """Nothing was written. Another attempt, later, may succeed."""


class UnknownOutcome(UsersError):
    """The create may or may not have had its effect. Creating again with the same id, which is `id`, email
    and name settles it."""

    def __init__(self, detail: str, id: str = "") -> None:
        super().__init__(detail)
        self.id = id


class Unimplemented(UsersError):
    """This version of the service has no such method. Nothing was written."""


class _Lost(Exception):
    """An attempt that may or may not have been carried out."""

    def __init__(self, detail: str, is_disconnect: bool = False) -> None:
        super().__init__(detail)
        self.is_disconnect = is_disconnect


@dataclass(frozen=True)
class _Attempt:
    """One attempt of a call: the service to ask, and what its answer means."""

    users: Any
    reader: Any
    """Where users are read: `users`, or a `UserDirectory`."""
    timeout_ms: int
    follows_write: bool
    """Whether an earlier attempt of the same call may have written."""


class _Connection:
    """A connection to the service. Once it is no longer the client's current one, its last call closes it."""

    def __init__(self, stream: Any, schema: Any) -> None:
        self.stream = stream
        self.rpc = capnp.TwoPartyClient(stream)
        self.users = self.reader = self.rpc.bootstrap().cast_as(schema.Users)
        self.calls_in_flight = 0
        self.watch: asyncio.Task[None] | None = None


class UsersClient:
    """The users service at `address`, "host:port".

    It connects with the first call, and again when the connection breaks. A call may take `timeout`
    seconds in all. Many calls may run at once. Every call may raise `Unavailable` or `Unimplemented`. A
    caller whose certificate is a reader's can `get`, `list` and `find`, and the rest is `Unimplemented`.

    The files of `tls` are read anew for each connection, so that they may be replaced. Raises ValueError
    when they cannot be used now.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:4001",
        timeout: float = 5.0,
        schema: str | os.PathLike[str] | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError("the address must be host:port, for example 127.0.0.1:4001")
        self._host, self._port = host.strip("[]"), int(port)
        self._timeout = timeout
        self._schema = load_schema(schema)
        self._tls = tls
        self._tls_context = tls.context() if tls else None
        self._current: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> UsersClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        current, self._current = self._current, None
        if current and not current.calls_in_flight:
            current.stream.close()

    async def create(self, *, email: str, name: str, id: str | None = None) -> Created:
        """Stores a user, exactly once. Without an `id` of yours, it gets a fresh one.

        The id makes repeating safe. Raises `Invalid`, `EmailTaken` or `IdConflict` when nothing was
        stored for that reason, and `UnknownOutcome` when it is not known: create again with the same id.
        """
        if id is None:
            id = str(uuid.uuid4())
        _check_size(id=id, email=email, name=name)

        async def call(attempt: _Attempt) -> Created:
            # Not by keywords: `name` is a parameter of pycapnp's own.
            request = attempt.users.createUser_request()
            request.id, request.email, request.name = id, email, name
            request.context.timeoutMs = attempt.timeout_ms
            answer = await request.send()
            which = answer.which()
            if which == "user":
                # The service may mean an attempt of this very call.
                return Created(_user(answer.user), answer.replayed and not attempt.follows_write)
            if which == "invalid":
                raise Invalid(_field_errors(answer.invalid))
            if which == "emailTaken":
                raise EmailTaken("another user has this e-mail address")
            if which == "idConflict":
                raise IdConflict("a user with this id has another e-mail address or name")
            raise UnknownOutcome(f"an outcome of a later version: {which}")

        try:
            return await self._call(call, writes=True)
        except UnknownOutcome as error:
            error.id = id
            raise

    async def get(self, id: str) -> User | None:
        """Reads a user, or returns None when none has this id."""
        try:
            _check_size(id=id)
        except Invalid:
            return None  # Text that is not a UUID is no user's id.

        async def call(attempt: _Attempt) -> User | None:
            request = attempt.reader.getUser_request()
            request.id, request.context.timeoutMs = id, attempt.timeout_ms
            return _user_or_none(await request.send())

        return await self._call(call, writes=False)

    async def find(self, email: str) -> User | None:
        """Reads the user with an e-mail address, in any letter case, or returns None when there is none."""
        try:
            _check_size(email=email)
        except Invalid:
            return None  # Text that is no e-mail address is no user's.

        async def call(attempt: _Attempt) -> User | None:
            request = _method(attempt.reader, "findUser")()
            request.email, request.context.timeoutMs = email, attempt.timeout_ms
            return _user_or_none(await request.send())

        return await self._call(call, writes=False)

    async def list(self, page_size: int = 50, page_token: str = "") -> Page:
        """Reads a page of 1 to 100 users, after the page whose `next_page_token` is `page_token`."""
        # The contract cannot carry other numbers. The service refuses the rest of them in these words.
        if not 0 <= page_size < 2**32:
            raise Invalid([FieldError("pageSize", "must be from 1 to 100")])
        _check_size(pageToken=page_token)

        async def call(attempt: _Attempt) -> Page:
            request = attempt.reader.listUsers_request()
            request.pageSize, request.pageToken = page_size, page_token
            request.context.timeoutMs = attempt.timeout_ms
            answer = await request.send()
            if answer.which() == "invalid":
                raise Invalid(_field_errors(answer.invalid))
            if answer.which() == "revoked":
                raise Revoked(_REVOKED)
            page = answer.page
            return Page([_user(user) for user in page.users], page.nextPageToken)

        return await self._call(call, writes=False)

    async def list_all(self, page_size: int = 100) -> AsyncIterator[User]:
        """Reads all users, page after page."""
        token = ""
        while True:
            page = await self.list(page_size, token)
            for user in page.users:
                yield user
            token = page.next_page_token
            if not token:
                return

    @asynccontextmanager
    async def directory(self) -> AsyncIterator[Any]:
        """Makes a `UserDirectory`, a capability of pycapnp to hand on in calls of your own to someone who may
        read users. It is revoked at the end of the context, or with the connection."""

        async def call(attempt: _Attempt) -> Any:
            request = _method(attempt.users, "directory")()
            request.context.timeoutMs = attempt.timeout_ms
            return await request.send()

        answer = await self._call(call, writes=False)
        # In pycapnp, what is read out of an answer keeps all of it, and so the handle, alive.
        holder = self._schema.DirectoryResponse.new_message(directory=answer.directory)
        try:
            yield holder.directory
        finally:
            del answer  # Releases the handle, which revokes the directory.

    async def _call(self, call: Callable[[_Attempt], Awaitable[T]], *, writes: bool) -> T:
        """Makes a call, and once more on a new connection when the old one breaks: ids make that safe.

        Once an attempt may have written, the outcome is unknown until an attempt settles it."""
        end = time.monotonic() + self._timeout
        # The service gets less time than the caller waits, so that its own "dropped" still arrives.
        service_end = end - min(max(self._timeout / 10, 0.005), 0.1)
        may_have_written = False
        for last_attempt in (False, True):
            try:
                connection = await self._connected(service_end)
                left = service_end - time.monotonic()
                timeout_ms = max(1, int(left * 1000))
                attempt = _Attempt(connection.users, connection.reader, timeout_ms, may_have_written)
                return await self._attempt(connection, call(attempt), end)
            except (Unavailable, Unimplemented) as error:
                if may_have_written:
                    raise UnknownOutcome(f"the call failed, and then {error}") from error
                raise
            except _Lost as error:
                may_have_written |= writes
                if last_attempt or not error.is_disconnect:
                    kind = UnknownOutcome if writes else Unavailable
                    raise kind(str(error)) from error
        raise AssertionError("unreachable")

    async def _attempt(self, connection: _Connection, call: Awaitable[T], end: float) -> T:
        try:
            return await asyncio.wait_for(call, end - time.monotonic())
        except (asyncio.TimeoutError, OSError) as error:
            self._abandon(connection)
            raise _Lost("no answer in time") from error
        except capnp.KjException as error:
            if error.type == "UNIMPLEMENTED":
                raise Unimplemented("the users service has no such method") from error
            if error.type == "OVERLOADED":
                raise Unavailable("the users service is overloaded; nothing was written") from error
            self._abandon(connection)
            raise _Lost("the call failed", error.type == "DISCONNECTED") from error
        except UnicodeDecodeError as error:
            raise _Lost("the answer is not UTF-8") from error
        finally:
            connection.calls_in_flight -= 1
            if connection is not self._current and not connection.calls_in_flight:
                connection.stream.close()

    def _abandon(self, connection: _Connection) -> None:
        """Makes the next call connect anew."""
        if self._current is connection:
            self._current = None

    async def _connected(self, end: float) -> _Connection:
        """The current connection, or a new one, with this call counted, while there is time for it."""

        async def connected() -> _Connection:
            async with self._connecting:
                if self._current is None:
                    self._current = await self._connect()
                # Now, before another call that ends closes it.
                self._current.calls_in_flight += 1
                return self._current

        try:
            return await asyncio.wait_for(connected(), end - time.monotonic())
        except (asyncio.TimeoutError, OSError, capnp.KjException) as error:
            raise Unavailable(f"the users service cannot be reached: {self._reason(error)}") from error

    def _reason(self, error: Any) -> str:
        """Why there is no connection, for the person who has to mend it."""
        if isinstance(error, asyncio.TimeoutError):
            return "it does not answer in time"
        if isinstance(error, OSError):
            return str(error)
        if error.type != "DISCONNECTED":
            return str(error.description)
        # Why it refuses a certificate, it says only after the handshake, and often too late to be heard.
        if not self._tls:
            return "it ends the connection; it may want mutual TLS"
        return f"it ends the connection; it may not accept the certificate in {self._tls.cert}"

    async def _connect(self) -> _Connection:
        """Connects, and makes sure by a first answer that a users service is at the other end: nothing is
        written through a connection that never worked."""
        if self._tls:
            # Two files that are being replaced may not match for a moment; those before still do.
            with suppress(ValueError):
                self._tls_context = self._tls.context()
        connect = capnp.AsyncIoStream.create_connection(self._host, self._port, ssl=self._tls_context)
        timeout = CONNECT_TIMEOUT + (FIRST_ANSWER_TIMEOUT if self._tls else 0)
        stream = await asyncio.wait_for(connect, timeout)
        connection = _Connection(stream, self._schema)
        try:
            await asyncio.wait_for(self._first_answer(connection), FIRST_ANSWER_TIMEOUT)
        except BaseException:
            stream.close()
            raise
        connection.watch = asyncio.create_task(self._watch(connection))
        return connection

    async def _first_answer(self, connection: _Connection) -> None:
        """Asks a question that every version of the service answers, and finds out whether the other end is
        a `UserDirectory`."""
        if await _is_implemented(connection.users.health()):
            return
        # An old service, or a directory, which knows nobody with an empty id.
        if hasattr(self._schema, "UserDirectory"):
            directory = connection.users.cast_as(self._schema.UserDirectory)
            if await _is_implemented(directory.getUser(id="")):
                connection.reader = directory

    async def _watch(self, connection: _Connection) -> None:
        """Abandons a connection as soon as it has ended, before a call is lost on it."""
        await connection.rpc.on_disconnect()
        self._abandon(connection)


def _check_size(**texts: str) -> None:
    """Raises `Invalid` for texts that no request can carry."""
    sizes: dict[str, int] = {}
    for field, text in texts.items():
        try:
            sizes[field] = len(text.encode())
        except UnicodeEncodeError:
            raise Invalid([FieldError(field, "must be UTF-8")]) from None
    if sum(sizes.values()) > MAX_TEXT_BYTES:
        reason = f"must be shorter: the texts of a request have at most {MAX_TEXT_BYTES} bytes in all"
        raise Invalid([FieldError(max(sizes, key=lambda field: sizes[field]), reason)])


async def _is_implemented(call: Awaitable[Any]) -> bool:
    try:
        await call
    except capnp.KjException as error:
        if error.type != "UNIMPLEMENTED":
            raise
        return False
    return True


def _method(capability: Any, name: str) -> Any:
    """Makes requests of a method that an older contract lacks."""
    try:
        return getattr(capability, f"{name}_request")
    except AttributeError:
        raise Unimplemented(f"users.capnp has no {name}") from None


def _user_or_none(answer: Any) -> User | None:
    which = answer.which()
    if which == "revoked":
        raise Revoked(_REVOKED)
    return _user(answer.user) if which == "user" else None


def _user(user: Any) -> User:
    return User(user.id, user.email, user.name)


def _field_errors(errors: Any) -> list[FieldError]:
    return [FieldError(error.field, error.reason) for error in errors]


OUTCOMES: dict[type[Exception], tuple[str, int]] = {
    EmailTaken: ("emailTaken", 3),
    IdConflict: ("idConflict", 3),
    Revoked: ("revoked", 3),
    Unavailable: ("unavailable", 4),
    UnknownOutcome: ("unknown", 5),
    Unimplemented: ("unimplemented", 6),
}
"""What the command line prints for an error, and its exit status."""


async def run(users: UsersClient, args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Carries out a command, and returns what to print and the exit status."""
    try:
        if args.verb == "create":
            created = await users.create(email=args.email, name=args.name, id=args.id)
            outcome = "replayed" if created.replayed else "created"
            return {"outcome": outcome, "user": asdict(created.user)}, 0
        if args.verb in ("get", "find"):
            user = await (users.get(args.id) if args.verb == "get" else users.find(args.email))
            if user is None:
                return {"outcome": "notFound"}, 3
            return {"outcome": "found", "user": asdict(user)}, 0
        page = await users.list(args.page_size, args.page_token)
        listed = [asdict(user) for user in page.users]
        return {"outcome": "page", "users": listed, "nextPageToken": page.next_page_token}, 0
    except Invalid as error:
        return {"outcome": "invalid", "errors": [asdict(e) for e in error.errors]}, 3
    except UsersError as error:
        outcome, status = OUTCOMES[type(error)]
        settled_by = {"id": error.id} if isinstance(error, UnknownOutcome) else {}
        return {"outcome": outcome, "detail": str(error), **settled_by}, status


def parser() -> argparse.ArgumentParser:
    """The command line, which `users-cli` and the C++ program have too."""
    parser = argparse.ArgumentParser("users_client", description="The users service at a terminal.")
    parser.add_argument("--users-addr", default=os.environ.get("USERS_ADDR", "127.0.0.1:4001"))
    parser.add_argument("--timeout-ms", type=int, default=5000)
    for part, meaning in (("cert", "certificate"), ("key", "private key"), ("ca", "CA of the service")):
        default = os.environ.get(f"USERS_TLS_{part.upper()}")
        meaning = f"{meaning}, for mutual TLS"
        parser.add_argument(f"--tls-{part}", default=default, metavar="FILE", help=meaning)
    verbs = parser.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="create a user")
    create.add_argument("--email", required=True)
    create.add_argument("--name", required=True)
    create.add_argument("--id", help="a UUID that makes repeating safe")
    get = verbs.add_parser("get", help="read a user")
    get.add_argument("id")
    find = verbs.add_parser("find", help="read the user with an e-mail address")
    find.add_argument("email")
    listing = verbs.add_parser("list", help="read a page of users")
    listing.add_argument("--page-size", type=int, default=50)
    listing.add_argument("--page-token", default="")
    return parser


def tls_files(args: argparse.Namespace) -> TlsFiles | None:
    """The files of a command line; None without TLS. Raises ValueError when there are some of them only."""
    files = {"cert": args.tls_cert, "key": args.tls_key, "ca": args.tls_ca}
    missing = [f"--tls-{part} (USERS_TLS_{part.upper()})" for part, file in files.items() if not file]
    if len(missing) == len(files):
        return None
    if missing:
        raise ValueError(f"mutual TLS also needs {' and '.join(missing)}")
    return TlsFiles(**files)


async def main(argv: list[str]) -> int:
    """Runs the command line, and returns the exit status."""
    args = parser().parse_args(argv)
    try:
        client = UsersClient(args.users_addr, args.timeout_ms / 1000, tls=tls_files(args))
    except ValueError as error:
        parser().error(str(error))
    async with client as users:
        outcome, status = await run(users, args)
    print(json.dumps(outcome), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(capnp.run(main(sys.argv[1:]))))
