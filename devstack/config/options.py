"""What the command line says, as plain values: the input of `load` beside the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from devstack.core.record import Record


class Options(Record):
    """What the command line says; None and "" mean that it does not. `sources` names the variable where one stood in for an option."""

    current: Path
    names: tuple[str, ...] = ()
    procfile: str | None = None
    env_files: tuple[str, ...] | None = None
    directory: Path | None = None
    port: int | None = None
    formation: str = ""
    watch: bool = True
    ready_within: float | None = None
    exit_on_failure: bool = False
    env_overrides: bool = False
    redis_persist: bool = False
    redis_docker: bool = False
    colour: bool = False
    run: str = ""
    """Marks all processes of one `up` (DEVSTACK_RUN)."""
    environ: Mapping[str, str] = MappingProxyType({})
    system: str = "linux"
    sources: Mapping[str, str] = MappingProxyType({})

    def source(self, name: str) -> str:
        usual = {"ready_within": "--timeout", "watch": "--no-watch", "env_files": "--env-file"}
        return self.sources.get(name) or usual.get(name) or f"--{name.replace('_', '-')}"
