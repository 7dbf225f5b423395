"""What calls raise. Every error of a call is a `UsersError`."""

from __future__ import annotations

from .types import FieldError


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
