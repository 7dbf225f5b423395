"""Loads the contract, users.capnp."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import capnp

capnp.remove_import_hook()


def load_schema(path: str | os.PathLike[str] | None = None) -> Any:
    """Loads the contract: the file `path`, or else the one that the variable USERS_SCHEMA names, or else
    the one of this package. Raises ValueError when the file cannot be read, or is no schema."""
    file = Path(path or os.environ.get("USERS_SCHEMA") or _of_this_package())
    try:
        file.read_bytes()
    except OSError as error:
        raise ValueError(f"the schema {file} cannot be read: {error.strerror}") from error
    try:
        return capnp.load(str(file))
    except ValueError as error:
        raise ValueError(f"the schema {file} cannot be used: {error}") from error


def _of_this_package() -> Path:
    """The contract that lies in an installed package, or the repository's own, for which there is no copy
    beside the sources."""
    package = Path(__file__).resolve().parent
    installed = package / "users.capnp"
    return installed if installed.is_file() else package.parents[2] / "schema" / "users.capnp"
