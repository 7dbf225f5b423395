"""Puts what lies elsewhere in this repository into the packages: the contract, and the licences.

The repository has one copy of each. An sdist has its own, out of which a wheel is built like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FromTheRepository(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        package = Path(self.root)
        if (package / "users_client" / "users.capnp").is_file():
            return
        repository = package.parents[1]
        files = {"schema/users.capnp": "users_client/users.capnp"}
        if self.target_name == "sdist":
            files |= {name: name for name in ("LICENSE-APACHE", "LICENSE-MIT")}
        for source, target in files.items():
            build_data["force_include"][str(repository / source)] = target
