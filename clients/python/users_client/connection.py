"""A connection to the users service, and why there is none."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import capnp

from .address import Address
from .tls import TlsFiles

CONNECT_TIMEOUT = 0.3
"""Seconds that connecting may take."""

FIRST_ANSWER_TIMEOUT = 1.0
"""Seconds that the first answer on a connection may take. A handshake of TLS may take as long."""


class Connection:
    """A connection to the service. Once it is no longer the client's current one, its last call closes it."""

    def __init__(self, stream: Any, schema: Any) -> None:
        self.stream = stream
        self.rpc = capnp.TwoPartyClient(stream)
        self.users = self.reader = self.rpc.bootstrap().cast_as(schema.Users)
        self.calls_in_flight = 0
        self.watch: asyncio.Task[None] | None = None


class Connector:
    """Makes connections to an address. Raises ValueError when the files of `tls` cannot be used now."""

    def __init__(self, address: Address, schema: Any, tls: TlsFiles | None) -> None:
        self._address = address
        self._schema = schema
        self._tls = tls
        self._tls_context = tls.context() if tls else None

    async def connect(self) -> Connection:
        """Connects, and makes sure by a first answer that a users service is at the other end: nothing is
        written through a connection that never worked."""
        if self._tls:
            # Two files that are being replaced may not match for a moment; those before still do.
            with suppress(ValueError):
                self._tls_context = self._tls.context()
        host, port = self._address.host, self._address.port
        connect = capnp.AsyncIoStream.create_connection(host, port, ssl=self._tls_context)
        timeout = CONNECT_TIMEOUT + (FIRST_ANSWER_TIMEOUT if self._tls else 0)
        stream = await asyncio.wait_for(connect, timeout)
        connection = Connection(stream, self._schema)
        try:
            await asyncio.wait_for(self._first_answer(connection), FIRST_ANSWER_TIMEOUT)
        except BaseException:
            stream.close()
            raise
        return connection

    async def _first_answer(self, connection: Connection) -> None:
        """Asks a question that every version of the service answers, and finds out whether the other end is
        a `UserDirectory`."""
        if await _is_implemented(connection.users.health()):
            return
        # An old service, or a directory, which knows nobody with an empty id.
        if hasattr(self._schema, "UserDirectory"):
            directory = connection.users.cast_as(self._schema.UserDirectory)
            if await _is_implemented(directory.getUser(id="")):
                connection.reader = directory

    def reason(self, error: Any) -> str:
        """Why `connect` raised an error, for the person who has to mend it."""
        if isinstance(error, asyncio.TimeoutError):
            return "it does not answer in time"
        if isinstance(error, OSError):
            return _reason_of_os(error)
        if error.type != "DISCONNECTED":
            return str(error.description)
        # Why it refuses a certificate, it says only after the handshake, and often too late to be heard.
        if not self._tls:
            return "it ends the connection; it may want mutual TLS"
        return f"it ends the connection; it may not accept the certificate in {self._tls.cert}"


def _reason_of_os(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name has no address ({error.strerror})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS as expected ({error.reason or error.strerror})"
    # Of several addresses, asyncio gives the errors only as part of a text.
    numbers = dict.fromkeys(re.findall(r"\[Errno (\d+)\]", str(error)))
    return ", ".join(os.strerror(int(number)) for number in numbers).lower() or str(error)


async def _is_implemented(call: Awaitable[Any]) -> bool:
    try:
        await call
    except capnp.KjException as error:
        if error.type != "UNIMPLEMENTED":
            raise
        return False
    return True
