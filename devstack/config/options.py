"""What the command line says, as plain values: the input of `load` beside the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; None and "" mean that it does not. `sources` names the variable where one stood in for an option."""

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
    environ: Mapping[str, str] = field(default_factory=dict)
    system: str = "linux"
    current: Path = field(default_factory=Path.cwd)
    sources: Mapping[str, str] = field(default_factory=dict)

    def source(self, name: str) -> str:
        usual = {"ready_within": "--timeout", "watch": "--no-watch", "env_files": "--env-file"}
        return self.sources.get(name) or usual.get(name) or f"--{name.replace('_', '-')}"
