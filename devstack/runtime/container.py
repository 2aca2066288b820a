"""A Redis in a Docker container, for those who ask for it: `[redis] docker`, or --redis-docker.

Rule 1: `docker run` stays in the foreground and is our process; its TERM goes on to the server, and --rm takes the container away.
Rule 2: a client that is killed leaves the container behind, with the daemon. So it has a name that only this project uses, and the shell
around it removes it in the end. Where that is killed as well, a note in the state directory says that there was one, and whoever finds
the note removes it: the end of `up`, else the next `up`.
Rule 3: the image is fetched before anything starts, and what is missing is named: docker, its daemon, the image.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from devstack.core.model import Launch, ProbeSpec, Service
from devstack.core.redis_url import RedisUrl
from devstack.core.secrets import mask
from devstack.errors import DevstackError
from devstack.kinds import redis as kind
from devstack.runtime.servers import make_directory

ANSWER_WITHIN: Final = 15.0
PULL_WITHIN: Final = 900.0
_DATA: Final = PurePosixPath("/data")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image, and where somebody asked for it."""

    image: str
    where: str


def name_of(state_dir: Path) -> str:
    """The container of a project, and its volume."""
    return f"devstack-{state_dir.name}"


async def service(
    name: str,
    wanted: Wanted,
    url: str,
    parsed: RedisUrl,
    state_dir: Path,
    env: Mapping[str, str],
    say: Callable[[str], None],
    *,
    persist: bool,
) -> Service:
    """A server at `url`, which is `parsed`, in a container of ours. DevstackError when there can be none."""
    if parsed.path:
        why = "the broker is a socket, and the socket of a container is not one of this machine"
        raise DevstackError(
            "cannot run Redis in a container", why=why, fix="name an address such as redis://127.0.0.1:6379/0"
        )
    docker = await _ready(wanted, env, say)
    note = _note(state_dir)
    make_directory(note.parent)
    note.touch()
    called, address = name_of(state_dir), parsed.addresses[0]
    published = f"[{address}]" if ":" in address else address
    words = [docker, "run", "--rm", "--interactive", "--name", called, "--label", "devstack"]
    words += ["--publish", f"{published}:{parsed.port}:6379"]
    words += ["--volume", f"{called}:{_DATA}"] if persist else []
    # The entrypoint of the image makes `redis-server -` of the dash.
    line = shlex.join([*words, wanted.image, "-"])
    remove = f"{shlex.join([docker, 'rm', '--force', called])} </dev/null >/dev/null 2>&1"
    launch = Launch(
        # When the client alone was killed, the old container must be gone first: it would answer in place of the next one.
        argv=(f"{remove}; {line}; code=$?; {remove}; exit $code",),
        env=dict(env),
        cwd=str(note.parent),
        shell=True,
        stdin=kind.configuration(parsed, _DATA, persist=persist, container=True),
        port=parsed.port,
    )
    return Service(
        name=name,
        command=line,
        kind="redis",
        role="redis",
        probe=ProbeSpec("redis", {"url": url}, every=kind.EVERY),
        grace=10.0,
        auxiliary=True,
        where="devstack",
        launch=lambda n: launch,
    )


async def sweep(state_dir: Path, env: Mapping[str, str]) -> str:
    """Remove the container if it is still there. Gives its name if it was."""
    note = _note(state_dir)
    if not note.exists():
        return ""
    docker = shutil.which("docker", path=env.get("PATH", ""))
    if docker is None:
        return ""
    code, output, errors = await _run([docker, "rm", "--force", name_of(state_dir)], env, ANSWER_WITHIN)
    if code and not any(gone in errors for gone in ("No such container", "already in progress")):
        return ""
    note.unlink(missing_ok=True)
    return output.strip()


def _note(state_dir: Path) -> Path:
    return state_dir / "redis" / "container"


async def _ready(wanted: Wanted, env: Mapping[str, str], say: Callable[[str], None]) -> str:
    """The program docker, once its daemon answers and the image is there."""
    image, what = wanted.image, f"cannot run {wanted.image} for Redis"
    without = "or leave Docker out: devstack has a Redis of its own"
    docker = shutil.which("docker", path=env.get("PATH", ""))
    if docker is None:
        raise DevstackError(what, why="docker is not installed", fix=f"install Docker, {without}", where=wanted.where)
    code, _, errors = await _run([docker, "version", "--format", "{{.Server.Version}}"], env, ANSWER_WITHIN)
    if code:
        start = "start it (Docker Desktop, or: sudo systemctl start docker)"
        if "permission denied" in errors:
            start = "join the group of those who may use it (sudo usermod -aG docker $USER) and log in again"
        raise DevstackError(what, why=_last(errors), fix=f"{start}, {without}", where=wanted.where)
    code, _, _ = await _run([docker, "image", "inspect", image], env, ANSWER_WITHIN)
    if code:
        say(f"docker fetches {image}, this once; it may take a while")
        code, _, errors = await _run([docker, "pull", "--quiet", image], env, PULL_WITHIN)
        if code:
            misnamed = any(
                word in errors for word in ("pull access denied", "not found", "manifest", "invalid reference")
            )
            cure = "correct the name of the image" if misnamed else f"try again with a network (docker pull {image})"
            raise DevstackError(
                f"docker cannot fetch {image}", why=_last(errors), fix=f"{cure}, {without}", where=wanted.where
            )
    return docker


def _last(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return mask(lines[-1].removeprefix("Error response from daemon: "))[:300] if lines else "docker gives no reason"


async def _run(words: list[str], env: Mapping[str, str], within: float) -> tuple[int, str, str]:
    """Exit code, output and errors of a short command; one that hangs is ended."""
    try:
        child = await asyncio.create_subprocess_exec(
            *words,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return 126, "", f"{words[0]} cannot be run: {(error.strerror or str(error)).lower()}"
    try:
        async with asyncio.timeout(within):
            output, errors = await child.communicate()
    except TimeoutError:
        return 124, "", f"docker {words[1]} did not end within {within:.0f} s"
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return child.returncode or 0, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")
