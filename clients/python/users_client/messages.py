"""What requests can carry, and what their answers mean."""

from __future__ import annotations

from typing import Any

import capnp

from .errors import EmailTaken, IdConflict, Invalid, Revoked, Unimplemented, UnknownOutcome, UsersError
from .types import Created, FieldError, User, field_errors, to_user

Outcome = Created | UsersError
"""What became of a user that was to be created."""

MAX_TEXT_BYTES = 96 * 1024
"""Bytes of the texts of a request, in UTF-8 and in all. The contract says so ("Limits"): a longer message
would cost the connection, and with it every other call."""

REVOKED = "the directory has been revoked"


def check_size(**texts: str) -> int:
    """The bytes of texts in a request. Raises `Invalid` for texts that no request can carry."""
    sizes: dict[str, int] = {}
    for field, text in texts.items():
        try:
            sizes[field] = len(text.encode())
        except UnicodeEncodeError:
            raise Invalid([FieldError(field, "must be UTF-8")]) from None
    size = sum(sizes.values())
    if size > MAX_TEXT_BYTES:
        reason = f"must be shorter: the texts of a request have at most {MAX_TEXT_BYTES} bytes in all"
        raise Invalid([FieldError(max(sizes, key=lambda field: sizes[field]), reason)])
    return size


def method(capability: Any, name: str) -> Any:
    """Makes requests of a method that an older contract lacks."""
    try:
        return getattr(capability, f"{name}_request")
    except AttributeError:
        raise Unimplemented(f"users.capnp has no {name}") from None


def which(union: Any) -> str:
    """The member that is set; empty for one that only a later contract has, of which pycapnp says that there
    is no union."""
    try:
        return str(union.which())
    except capnp.KjException:
        return ""


def outcome_of_create(answer: Any, follows_write: bool) -> Outcome:
    """What a `CreateUserResponse` says; `follows_write` as in an attempt."""
    member = which(answer)
    if member == "user":
        # The service may mean an attempt of this very call.
        return Created(to_user(answer.user), answer.replayed and not follows_write)
    if member == "invalid":
        return Invalid(field_errors(answer.invalid))
    if member == "emailTaken":
        return EmailTaken("another user has this e-mail address")
    if member == "idConflict":
        return IdConflict("a user with this id has another e-mail address or name")
    return UnknownOutcome("an outcome of a later version")


def user_or_none(answer: Any) -> User | None:
    member = answer.which()
    if member == "revoked":
        raise Revoked(REVOKED)
    return to_user(answer.user) if member == "user" else None
