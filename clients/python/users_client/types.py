"""What calls return, and how it is read out of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


def to_user(user: Any) -> User:
    return User(user.id, user.email, user.name)


def field_errors(errors: Any) -> list[FieldError]:
    return [FieldError(error.field, error.reason) for error in errors]
