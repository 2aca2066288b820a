"""A Redis in the Linux beside Windows: in WSL, through wsl.exe.

Rule 1: what runs in there does not end with its wsl.exe (https://github.com/microsoft/WSL/issues/2496). So a script stands around the
server, and ends it as soon as its standard input ends, which wsl.exe holds open for as long as it lives.
Rule 2: no machine is trusted with that before it was seen there: first a server for trial has to answer on Windows' own 127.0.0.1 (WSL 2
passes that on, unless somebody has turned it off), and to be gone once its wsl.exe was killed.
Rule 3: nothing is left to how wsl.exe splits its line and translates paths: script and configuration lie in the directory of the data,
which it is started in and takes over as /mnt/c/…, and both are named without it.

What is written here ran on Linux with a stand-in for wsl.exe, never on a real Windows. Not known there: whether Ctrl-C reaches the server
(if not, it is asked to leave by the end of its input, after the grace), and how long it may outlive wsl.exe while it saves.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from devstack.core.redis_url import RedisUrl
from devstack.host import here, wsl
from devstack.kinds import redis as kind
from devstack.probes.redis import OLDEST
from devstack.probes.resp import NotRedis, Wire

PROGRAM: Final = "wsl.exe"
SERVER: Final = "redis-server"
SCRIPT, CONFIGURATION = "serve.sh", "redis.conf"
ARGUMENTS: Final = ("-e", "sh", SCRIPT)
VERSION_WITHIN = 15.0
"""Seconds: a Linux that sleeps has to wake up first."""
ANSWERS_WITHIN = 15.0
ENDS_WITHIN = 8.0
PAUSE = 0.1
SERVE = f"""\
# Run by devstack through wsl.exe. The server ends when our input does: then wsl.exe is gone, or devstack.
exec 3<&0 </dev/null
{SERVER} {CONFIGURATION} 3<&- &
server=$!
{{ while read -r line; do :; done <&3; kill "$server"; }} 2>/dev/null &
watcher=$!
trap : INT  # The server hears that as well, and a second word from us would keep it from saving.
trap 'kill "$server" 2>/dev/null' TERM HUP
# A signal ends the waiting, too.
while wait "$server"; code=$?; kill -0 "$server" 2>/dev/null; do :; done
kill "$watcher" 2>/dev/null
exit "$code"
"""


async def find(env: Mapping[str, str]) -> tuple[str, kind.Version | None, str]:
    """wsl.exe and the version of the server that it can run here, or why there is none; all empty without WSL."""
    program, distribution = shutil.which(PROGRAM, path=env.get("PATH", "")), wsl.distribution()
    if program is None or not distribution:
        return "", None, ""
    place = f"WSL ({distribution})"
    version = kind.version(await _said(program, env))
    if version is None:
        return "", None, f"no {SERVER} runs in {place}"
    if version.numbers < OLDEST:
        return "", None, f"the {SERVER} in {place} is too old ({version}; Celery with kombu 5.7 or newer needs 6.2)"
    try:
        why = await _trial(program, env)
    except OSError as error:
        why = f"{error.strerror or error}"
    if why:
        return "", None, f"the {SERVER} in {place} cannot be used: {why}"
    return program, version, ""


def prepare(directory: Path, url: RedisUrl, *, persist: bool) -> None:
    """What the script needs. The configuration is a file, since the input is taken; the directory is its owner's alone."""
    (directory / SCRIPT).write_bytes(SERVE.encode())
    conf = directory / CONFIGURATION
    conf.touch(0o600)
    conf.write_bytes(kind.configuration(url, PurePosixPath("."), persist=persist))


async def _said(program: str, env: Mapping[str, str]) -> str:
    """What `redis-server --version` says in there; empty when it cannot be run. (wsl.exe's own words are UTF-16.)"""
    host = here()
    try:
        child = await asyncio.create_subprocess_exec(
            *(program, "-e", SERVER, "--version"),
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            **host.spawn_options(),
        )
        tree, output = host.adopt(child.pid), b""
    except OSError:
        return ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(VERSION_WITHIN):
            output, _ = await child.communicate()
    # All of it: a wsl.exe from the store starts another one.
    host.kill(tree)
    return output.decode("utf-8", "replace") if await child.wait() == 0 else ""


async def _trial(program: str, env: Mapping[str, str]) -> str:
    """Why this machine cannot hold a server in there; empty when it can."""
    host, url = here(), RedisUrl(port=_free_port())
    with tempfile.TemporaryDirectory(prefix="devstack-wsl-", ignore_cleanup_errors=True) as place:
        prepare(Path(place), url, persist=False)
        child = await asyncio.create_subprocess_exec(
            *(program, *ARGUMENTS),
            env=dict(env),
            cwd=place,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            **host.spawn_options(),
        )
        tree = host.adopt(child.pid)
        try:
            answered = await _comes_to(url, True, ANSWERS_WITHIN, child)
        finally:
            # As it goes when somebody kills devstack.
            host.kill(tree)
            await child.wait()
            if child.stdin:
                child.stdin.close()
        gone = await _comes_to(url, False, ENDS_WITHIN)
    if not gone:
        await asyncio.to_thread(_shut_down, url)
        return "it runs on when wsl.exe is gone"
    return "" if answered else "it does not answer on 127.0.0.1"


async def _comes_to(
    url: RedisUrl, answers: bool, within: float, child: asyncio.subprocess.Process | None = None
) -> bool:
    """Whether the server at `url` answers, or no longer does, before the time is over, or `child`. No event tells."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if await asyncio.to_thread(_answers, url) is answers:
            return True
        if child and child.returncode is not None:
            return False
        await asyncio.sleep(PAUSE)
    return False


def _answers(url: RedisUrl) -> bool:
    with contextlib.suppress(OSError, NotRedis), Wire(url, 1.0) as wire:
        return wire.ask("PING") == "PONG"
    return False


def _shut_down(url: RedisUrl) -> None:
    with contextlib.suppress(OSError, NotRedis), Wire(url, 1.0) as wire:
        wire.ask("SHUTDOWN", "NOSAVE")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
