"""What calls return, and how it is read out of messages."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class User:
    """A stored user."""

    id: str
    email: str
    name: str


@dataclass(frozen=True, init=False)
class NewUser:
    """A user to create. Without an `id` of yours it gets a fresh one, and keeps it, so that it can be created
    again."""

    email: str
    name: str
    id: str

    def __init__(self, email: str, name: str, id: str | None = None) -> None:
        # As the class is frozen, it has no other way to set its own fields.
        object.__setattr__(self, "email", email)
        object.__setattr__(self, "name", name)
        # An empty one would have the service mint an id, with which nothing could be created again.
        object.__setattr__(self, "id", id or str(uuid.uuid4()))


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
