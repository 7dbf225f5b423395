"""The command line, which `users-cli` and the C++ program have too."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import Any, NoReturn

from .client import UsersClient
from .errors import (
    EmailTaken,
    IdConflict,
    Invalid,
    Revoked,
    Unavailable,
    Unimplemented,
    UnknownOutcome,
    UsersError,
)
from .tls import TlsFiles

OUTCOMES: dict[type[Exception], tuple[str, int]] = {
    EmailTaken: ("emailTaken", 3),
    IdConflict: ("idConflict", 3),
    Revoked: ("revoked", 3),
    Unavailable: ("unavailable", 4),
    UnknownOutcome: ("unknown", 5),
    Unimplemented: ("unimplemented", 6),
}
"""What is printed for an error, and its exit status."""

EPILOG = """\
Prints an object of JSON. Exit status:
  0  done
  1  interrupted, or nothing can be printed
  2  wrong usage, or files that cannot be used
  3  refused: invalid, e-mail address taken, id of another user, not found
  4  unavailable: nothing was written
  5  unknown: creating again with the same id settles it
  6  the service has no such method, or the caller may not use it
"""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"users_client: {message} (see --help)\n")


def parser() -> Parser:
    """The options and the verbs."""
    parser = Parser(
        "python -m users_client",
        description="The users service at a terminal.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--users-addr",
        default=os.environ.get("USERS_ADDR", "127.0.0.1:4001"),
        metavar="HOST:PORT",
        help="the users service (variable USERS_ADDR; otherwise 127.0.0.1:4001)",
    )
    parser.add_argument(
        "--timeout-ms",
        type=milliseconds,
        default=5000,
        metavar="N",
        help="milliseconds that a call may take in all (%(default)s)",
    )
    for part, meaning in (
        ("cert", "the caller's certificate"),
        ("key", "its private key"),
        ("ca", "the CA of the service's certificate"),
    ):
        variable = f"USERS_TLS_{part.upper()}"
        parser.add_argument(
            f"--tls-{part}",
            default=os.environ.get(variable),
            metavar="FILE",
            help=f"{meaning} in PEM, for mutual TLS (variable {variable})",
        )
    add_verbs(parser)
    return parser


def add_verbs(parser: Parser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    create = verbs.add_parser("create", help="create a user")
    create.add_argument("--email", required=True)
    create.add_argument("--name", required=True)
    create.add_argument("--id", metavar="UUID", help="makes repeating safe; otherwise a fresh one")
    get = verbs.add_parser("get", help="read a user")
    get.add_argument("id")
    find = verbs.add_parser("find", help="read the user with an e-mail address")
    find.add_argument("email")
    listing = verbs.add_parser("list", help="read a page of users")
    listing.add_argument("--page-size", type=int, default=50, metavar="N", help="1 to 100 (%(default)s)")
    listing.add_argument("--page-token", default="", metavar="TOKEN", help="from the page before")


def milliseconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**32:
        raise argparse.ArgumentTypeError(f"must be a number of milliseconds, for example 5000, not {text!r}")
    return int(text)


def tls_files(args: argparse.Namespace) -> TlsFiles | None:
    """The files of a command line; None without TLS. Raises ValueError when there are some of them only."""
    files = {"cert": args.tls_cert, "key": args.tls_key, "ca": args.tls_ca}
    missing = [f"--tls-{part} (USERS_TLS_{part.upper()})" for part, file in files.items() if not file]
    if len(missing) == len(files):
        return None
    if missing:
        raise ValueError(f"mutual TLS also needs {' and '.join(missing)}")
    return TlsFiles(**files)


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


async def main(argv: list[str]) -> int:
    """Runs the command line, and returns the exit status."""
    arguments = parser()
    args = arguments.parse_args(argv)
    try:
        client = UsersClient(args.users_addr, args.timeout_ms / 1000, tls=tls_files(args))
    except ValueError as error:
        arguments.error(str(error))
    async with client as users:
        outcome, status = await run(users, args)
    try:
        print(json.dumps(outcome), flush=True)
    except OSError as error:
        # Python would try again as it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"users_client: nothing can be printed: {error.strerror}", file=sys.stderr)
        return 1
    return status
