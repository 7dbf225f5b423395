"""The client: calls, with their deadlines and repetitions."""

from __future__ import annotations

import asyncio
import builtins
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import capnp

from .address import Address
from .connection import Connection, Connector
from .errors import Invalid, Revoked, Unavailable, Unimplemented, UnknownOutcome, UsersError
from .many import create_in_calls, outcomes_of_rows, write_rows
from .messages import REVOKED, Outcome, check_size, method, outcome_of_create, user_or_none
from .schema import load_schema
from .tls import TlsFiles
from .types import Created, FieldError, NewUser, Page, User, field_errors, to_user

T = TypeVar("T")


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


class UsersClient:
    """The users service at `address`, "host:port".

    It connects with the first call, and again when the connection breaks. A call may take `timeout`
    seconds in all. Many calls may run at once. Every call may raise `Unavailable` or `Unimplemented`. A
    caller whose certificate is a reader's can `get`, `list` and `find`, and the rest is `Unimplemented`.

    The files of `tls` are read anew for each connection, so that they may be replaced. Raises ValueError
    when they cannot be used now, and for an address or a schema that cannot be used.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:4001",
        timeout: float = 5.0,
        schema: str | os.PathLike[str] | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        where = Address.parse(address)
        self._service = f"the users service at {where}"
        self._timeout = timeout
        self._schema = load_schema(schema)
        self._connector = Connector(where, self._schema, tls)
        self._current: Connection | None = None
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
        check_size(id=id, email=email, name=name)

        async def call(attempt: _Attempt) -> Created:
            # Not by keywords: `name` is a parameter of pycapnp's own.
            request = attempt.users.createUser_request()
            request.id, request.email, request.name = id, email, name
            request.context.timeoutMs = attempt.timeout_ms
            outcome = outcome_of_create(await request.send(), attempt.follows_write)
            if isinstance(outcome, UsersError):
                raise outcome
            return outcome

        try:
            return await self._call(call, writes=True)
        except UnknownOutcome as error:
            error.id = id
            raise

    async def create_many(self, rows: Iterable[NewUser]) -> builtins.list[Created | UsersError]:
        """Stores many users, each as `create` does, and returns what became of each, in the order of the rows.
        An error that `create` would raise is in the list instead.

        The rows go to the service in calls of up to 500, one after the other, each of which may take
        `timeout` seconds. When a call fails, the rows after it are not sent, and are `Unavailable`. Rows that
        end as `Unavailable` or `UnknownOutcome` may be created again as they are: each has its id.
        """

        async def send(part: list[NewUser]) -> list[Outcome]:
            async def call(attempt: _Attempt) -> list[Outcome]:
                request = method(attempt.users, "createUsers")()
                write_rows(request, part)
                request.context.timeoutMs = attempt.timeout_ms
                return outcomes_of_rows(await request.send(), part, attempt.follows_write)

            return await self._call(call, writes=True)

        return await create_in_calls(list(rows), send)

    async def get(self, id: str) -> User | None:
        """Reads a user, or returns None when none has this id."""
        try:
            check_size(id=id)
        except Invalid:
            return None  # Text that is not a UUID is no user's id.

        async def call(attempt: _Attempt) -> User | None:
            request = attempt.reader.getUser_request()
            request.id, request.context.timeoutMs = id, attempt.timeout_ms
            return user_or_none(await request.send())

        return await self._call(call, writes=False)

    async def find(self, email: str) -> User | None:
        """Reads the user with an e-mail address, in any letter case, or returns None when there is none."""
        try:
            check_size(email=email)
        except Invalid:
            return None  # Text that is no e-mail address is no user's.

        async def call(attempt: _Attempt) -> User | None:
            request = method(attempt.reader, "findUser")()
            request.email, request.context.timeoutMs = email, attempt.timeout_ms
            return user_or_none(await request.send())

        return await self._call(call, writes=False)

    async def list(self, page_size: int = 50, page_token: str = "") -> Page:
        """Reads a page of 1 to 100 users, after the page whose `next_page_token` is `page_token`."""
        # The contract cannot carry other numbers. The service refuses the rest of them in these words.
        if not 0 <= page_size < 2**32:
            raise Invalid([FieldError("pageSize", "must be from 1 to 100")])
        check_size(pageToken=page_token)

        async def call(attempt: _Attempt) -> Page:
            request = attempt.reader.listUsers_request()
            request.pageSize, request.pageToken = page_size, page_token
            request.context.timeoutMs = attempt.timeout_ms
            answer = await request.send()
            if answer.which() == "invalid":
                raise Invalid(field_errors(answer.invalid))
            if answer.which() == "revoked":
                raise Revoked(REVOKED)
            page = answer.page
            return Page([to_user(user) for user in page.users], page.nextPageToken)

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
            request = method(attempt.users, "directory")()
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

    async def _attempt(self, connection: Connection, call: Awaitable[T], end: float) -> T:
        try:
            return await asyncio.wait_for(call, end - time.monotonic())
        except (asyncio.TimeoutError, OSError) as error:
            self._abandon(connection)
            raise _Lost(f"{self._service} does not answer in time") from error
        except capnp.KjException as error:
            if error.type == "UNIMPLEMENTED":
                raise Unimplemented(f"{self._service} has no such method") from error
            if error.type == "OVERLOADED":
                raise Unavailable(f"{self._service} is overloaded; nothing was written") from error
            self._abandon(connection)
            if error.type == "DISCONNECTED":
                raise _Lost(f"{self._service} ended the connection during the call", True) from error
            raise _Lost(f"the call of {self._service} failed") from error
        except UnicodeDecodeError as error:
            raise _Lost(f"the answer of {self._service} is not UTF-8") from error
        finally:
            connection.calls_in_flight -= 1
            if connection is not self._current and not connection.calls_in_flight:
                connection.stream.close()

    def _abandon(self, connection: Connection) -> None:
        """Makes the next call connect anew."""
        if self._current is connection:
            self._current = None

    async def _connected(self, end: float) -> Connection:
        """The current connection, or a new one, with this call counted, while there is time for it."""

        async def connected() -> Connection:
            async with self._connecting:
                if self._current is None:
                    self._current = await self._connector.connect()
                    self._current.watch = asyncio.create_task(self._watch(self._current))
                # Now, before another call that ends closes it.
                self._current.calls_in_flight += 1
                return self._current

        try:
            return await asyncio.wait_for(connected(), end - time.monotonic())
        except (asyncio.TimeoutError, OSError, capnp.KjException) as error:
            reason = self._connector.reason(error)
            raise Unavailable(f"{self._service} cannot be reached: {reason}") from error

    async def _watch(self, connection: Connection) -> None:
        """Abandons a connection as soon as it has ended, before a call is lost on it."""
        await connection.rpc.on_disconnect()
        self._abandon(connection)
