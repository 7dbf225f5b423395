"""Where the users service is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @staticmethod
    def parse(text: str) -> Address:
        """Parses "host:port", in which an IPv6 address has brackets. Raises ValueError."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            host.encode("idna")  # As asyncio does, which does not expect an error.
        except UnicodeError:
            host = ""
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 2**16
        if not host or not is_port:
            raise ValueError(f"the address {text!r} must be host:port, for example 127.0.0.1:4001")
        return Address(host, int(port))
