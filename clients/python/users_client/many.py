"""Many users in a call: how they are packed into requests, and what became of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .errors import Invalid, Unavailable, Unimplemented, UnknownOutcome, UsersError
from .messages import Outcome, check_size, outcome_of_create, which
from .types import NewUser, field_errors

MAX_USERS = 500
"""Users of a request, as the contract says."""

MAX_USERS_TEXT_BYTES = 88 * 1024
"""Bytes of their texts, as the contract says: each text takes up to 16 bytes more in the message."""


async def create_in_calls(
    rows: Sequence[NewUser], call: Callable[[list[NewUser]], Awaitable[list[Outcome]]]
) -> list[Outcome]:
    """Creates the rows with `call`, as many at a time as a request can carry. Once a call has failed, those
    after it would most likely fail too, each after its whole timeout, so they are not made."""
    calls, outcomes = _packed(rows)
    of_the_rest: UsersError | None = None
    for indices in calls:
        part = [rows[index] for index in indices]
        if of_the_rest is not None:
            results: list[Outcome] = [of_the_rest for _ in part]
        else:
            try:
                results = await call(part)
            except UsersError as error:
                results = [_of_row(error, row) for row in part]
                of_the_rest = error
                if not isinstance(error, Unimplemented):
                    of_the_rest = Unavailable(f"it was not sent, because a call before it failed: {error}")
        outcomes.update(zip(indices, results, strict=True))
    return [outcomes[index] for index in range(len(rows))]


def write_rows(request: Any, rows: Sequence[NewUser]) -> None:
    """Puts the rows into a `CreateUsersRequest`."""
    for user, row in zip(request.init("users", len(rows)), rows, strict=True):
        user.id, user.email, user.name = row.id, row.email, row.name


def outcomes_of_rows(answer: Any, rows: Sequence[NewUser], follows_write: bool) -> list[Outcome]:
    """What a `CreateUsersResponse` says of each row; `follows_write` as in an attempt."""
    member = which(answer)
    if member == "invalid":
        errors = field_errors(answer.invalid)
        return [Invalid(errors) for _ in rows]
    if member != "results" or len(answer.results) != len(rows):
        raise UnknownOutcome("the answer does not say what became of each user")
    results = zip(answer.results, rows, strict=True)
    return [_of_row(_outcome(result, follows_write), row) for result, row in results]


def _outcome(result: Any, follows_write: bool) -> Outcome:
    member = which(result)
    if member == "done":
        try:
            return outcome_of_create(result.done, follows_write)
        except UnicodeDecodeError:
            return UnknownOutcome("the answer is not UTF-8")
    if member == "overloaded" and follows_write:
        return UnknownOutcome("the call failed, and then the users service was overloaded")
    if member == "overloaded":
        return Unavailable("the users service is overloaded; nothing was written")
    if member == "failed":
        return UnknownOutcome("the users service does not know whether it is stored")
    return UnknownOutcome("an outcome of a later version")


def _of_row(outcome: Outcome, row: NewUser) -> Outcome:
    """An unknown outcome says which row settles it."""
    return UnknownOutcome(str(outcome), row.id) if isinstance(outcome, UnknownOutcome) else outcome


def _packed(rows: Sequence[NewUser]) -> tuple[list[list[int]], dict[int, Outcome]]:
    """The rows of each call, by their indices, and the outcomes of those that no call can carry."""
    calls: list[list[int]] = []
    outcomes: dict[int, Outcome] = {}
    room = 0
    for index, row in enumerate(rows):
        try:
            size = check_size(id=row.id, email=row.email, name=row.name)
        except Invalid as error:
            outcomes[index] = error
            continue
        if not calls or len(calls[-1]) == MAX_USERS or size > room:
            calls.append([])
            room = MAX_USERS_TEXT_BYTES
        calls[-1].append(index)
        room -= size
    return calls, outcomes
