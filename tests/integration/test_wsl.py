"""A Redis in WSL, with a stand-in for wsl.exe and a real server behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devstack.core.model import Service
from devstack.core.redis_url import parse
from devstack.runtime import servers, wsl
from devstack.runtime.servers import Server
from tests.support import fake_wsl
from tests.support.ports import free_port
from tests.support.redis_server import any_server, eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is for machines that are no Windows")


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of wsl.exe, on a machine without any other Redis."""
    monkeypatch.setattr(servers, "_in_wheel", lambda: None)
    monkeypatch.setattr("devstack.host.wsl.distribution", lambda: "Ubuntu")
    return tmp_path / "System32"


def find(windows: Path, system: str = "win32") -> tuple[Server | None, tuple[str, ...]]:
    return asyncio.run(servers.find({"PATH": str(windows)}, system))


@contextmanager
def running(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    """As the supervisor starts it; its input stays open."""
    launch = service.launch(1)
    assert launch.open_stdin
    with subprocess.Popen(
        launch.argv, env=launch.env, cwd=launch.cwd, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def answers(url: str) -> bool:
    return wsl._answers(parse(url))


def test_a_redis_in_wsl_is_taken_after_it_has_shown_that_it_ends_with_wsl_exe(windows: Path) -> None:
    fake_wsl.install(windows, any_server())
    server, passed = find(windows)
    assert server
    assert (server.source, server.program, passed) == ("WSL", str(windows / "wsl.exe"), ())
    assert str(server).endswith(" in WSL")
    assert fake_wsl.calls(windows) == ["-e redis-server --version", "-e sh serve.sh"]


def test_elsewhere_nobody_asks_for_wsl(windows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wsl.install(windows, any_server())
    for system in ("linux", "darwin"):
        server, _ = find(windows, system)
        assert server is None or server.source == "devstack"
    monkeypatch.setattr("devstack.host.wsl.distribution", lambda: "")
    find(windows)  # a Windows where wsl.exe has no Linux
    assert fake_wsl.calls(windows) == []


def test_a_server_in_wsl_ends_when_wsl_exe_is_killed_and_keeps_its_data(windows: Path, tmp_path: Path) -> None:
    fake_wsl.install(windows, any_server())
    server, _ = find(windows)
    assert server
    url = f"redis://:pass%20word@127.0.0.1:{free_port()}/0"
    state = tmp_path / "state of (é)"

    def service() -> Service:
        return servers.service("redis", server, url, parse(url), state, {"PATH": str(windows)}, persist=True)

    def ask(*words: str) -> object:
        with wsl.Wire(parse(url), 2.0) as wire:
            wire.ask("AUTH", "pass word")
            return wire.ask(*words)

    with running(service()) as child:
        eventually(lambda: not child.poll() and _listens(url), "no server")
        ask("SET", "queue", "task")
        assert "127.0.0.1" in str(ask("CONFIG", "GET", "bind"))
        os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: not _listens(url), "the server outlives its wsl.exe")
    with running(service()):
        eventually(lambda: _listens(url), "no server")
        assert ask("GET", "queue") == "task"
    eventually(lambda: not _listens(url), "the server outlives its wsl.exe")
    conf = next(state.rglob("redis.conf"))
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600
    assert "pass word" not in " ".join(service().launch(1).argv)


def _listens(url: str) -> bool:
    try:
        with wsl.Wire(parse(url), 1.0) as wire:
            wire.ask("PING")
    except (OSError, wsl.NotRedis):
        return False
    return True


def test_a_machine_where_the_server_would_outlive_wsl_exe_gets_another_one(
    windows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsl, "ENDS_WITHIN", 1.0)
    ports = [free_port()]
    monkeypatch.setattr(wsl, "_free_port", lambda: ports[0])
    fake_wsl.install(windows, any_server())
    (windows / "forgetful").touch()
    server, passed = find(windows)
    assert server is None or server.source == "devstack"
    assert passed[0] == "the redis-server in WSL (Ubuntu) cannot be used: it runs on when wsl.exe is gone"
    eventually(lambda: not answers(f"redis://127.0.0.1:{ports[0]}/0"), "the server for trial is left")


def test_a_machine_that_does_not_pass_its_port_on_gets_another_one(
    windows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsl, "ANSWERS_WITHIN", 1.0)
    fake_wsl.install(windows)
    _fake(windows, 'case "$1" in --version) echo Redis server v=7.0.15 sha=0 ;; *) while read -r x; do :; done ;; esac')
    _, passed = find(windows)
    assert passed[0] == "the redis-server in WSL (Ubuntu) cannot be used: it does not answer on 127.0.0.1"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("", "no redis-server runs in WSL (Ubuntu)"),
        ("printf 'W\\0S\\0L\\0'; exit 4", "no redis-server runs in WSL (Ubuntu)"),
        ("exec /bin/sleep 5", "no redis-server runs in WSL (Ubuntu)"),
        ("echo Redis server v=5.0.14 sha=0", "the redis-server in WSL (Ubuntu) is too old (redis 5.0.14;"),
    ],
)
def test_what_wsl_has_not_or_has_too_old_is_a_word_in_the_notes(
    windows: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(wsl, "VERSION_WITHIN", 1.0)
    fake_wsl.install(windows)
    if script:
        _fake(windows, script)
    _, passed = find(windows)
    assert passed[0].startswith(why)


def test_a_server_that_ends_by_itself_ends_wsl_exe_with_its_code(windows: Path, tmp_path: Path) -> None:
    fake_wsl.install(windows)
    _fake(windows, "exit 3")
    wsl.prepare(tmp_path, parse("redis://127.0.0.1:1/0"), persist=False)
    with subprocess.Popen([windows / "wsl.exe", *wsl.ARGUMENTS], cwd=tmp_path, stdin=subprocess.PIPE) as child:
        assert child.wait(20) == 3


def _fake(windows: Path, script: str) -> None:
    server = windows / "linux" / "redis-server"
    server.write_text(f"#!/bin/sh\n{script}\n")
    server.chmod(0o755)
