"""The environment of one process: layers, the later ones winning, and for each variable where its value comes from.

Rule 1: what a person set (in the environment, in .env, in the settings) wins over what devstack thinks.
Rule 2: PORT, PS and the DEVSTACK_ variables belong to the instance and are always set; PORT from .env or the environment is the base
that they are counted from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping

from devstack.config.env import EnvFile
from devstack.core.record import Record

BREAKPOINT = "devstack.inside.debug.stop"
"""What `breakpoint()` calls."""
PORT_STEP, PORT_SPAN = 100, 50_000
"""From one line's PORT to the next one's, and how far all of them may reach: a thousand lines get 50 each."""


class Layer(Record):
    values: Mapping[str, str]
    source: str | Mapping[str, str]
    """One source for all, or one for each variable."""

    def source_of(self, name: str) -> str:
        return self.source if isinstance(self.source, str) else self.source[name]


class Environment(Record):
    """What all processes share. `injected` is filled while the stack starts; a person's own values win over it."""

    environ: Mapping[str, str]
    files: EnvFile
    overrides: bool
    system: str
    colour: bool
    runtime_dir: str
    injected: MutableMapping[str, str]

    def theirs(self) -> list[Layer]:
        real, files = Layer(self.environ, "environment"), Layer(self.files.values, self.files.sources)
        return [real, files] if self.overrides else [files, real]

    def find(self, name: str) -> tuple[str, str] | None:
        """A variable that a person set and its source."""
        return next(
            ((each.values[name], each.source_of(name)) for each in reversed(self.theirs()) if name in each.values), None
        )

    def shared(self) -> dict[str, str]:
        """What a person set, merged."""
        return merge(self.theirs())[0]

    def of(
        self, process: str, port: int, kind: Mapping[str, str], kind_name: str, own: Layer, run: str
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The variables of one instance and their sources; its venv is not in it yet."""
        ours = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONBREAKPOINT": BREAKPOINT}
        if self.colour and self.find("NO_COLOR") is None and "NO_COLOR" not in own.values:
            ours["FORCE_COLOR"] = "1"
        if self.system == "darwin":
            # Celery's prefork pool forks after Objective-C has started; it must be said before exec.
            ours["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
        numbered = {"PORT": str(port), "PS": process, "DEVSTACK_PROCESS": process, "DEVSTACK_RUN": run}
        numbered["DEVSTACK_RUNTIME_DIR"] = self.runtime_dir
        layers = [
            Layer(ours, "default"),
            Layer(kind, kind_name),
            Layer(self.injected, "devstack's Redis"),
            *self.theirs(),
        ]
        return merge([*layers, Layer(numbered, "devstack"), own])


def merge(layers: Iterable[Layer]) -> tuple[dict[str, str], dict[str, str]]:
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.values.items():
            values[name] = value
            sources[name] = layer.source_of(name)
    return values, sources
