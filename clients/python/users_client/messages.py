"""What requests can carry, and what their answers mean."""

from __future__ import annotations

from typing import Any

from .errors import Invalid, Revoked, Unimplemented
from .types import FieldError, User, to_user

MAX_TEXT_BYTES = 96 * 1024
"""Bytes of the texts of a request, in UTF-8 and in all. The contract says so ("Limits"): a longer message
would cost the connection, and with it every other call."""

REVOKED = "the directory has been revoked"


def check_size(**texts: str) -> None:
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


def method(capability: Any, name: str) -> Any:
    """Makes requests of a method that an older contract lacks."""
    try:
        return getattr(capability, f"{name}_request")
    except AttributeError:
        raise Unimplemented(f"users.capnp has no {name}") from None


def user_or_none(answer: Any) -> User | None:
    which = answer.which()
    if which == "revoked":
        raise Revoked(REVOKED)
    return to_user(answer.user) if which == "user" else None
