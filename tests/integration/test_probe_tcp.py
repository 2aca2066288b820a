from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from devstack.core.health import Answer, Health
from devstack.probes import ports, tcp
from tests.support.listeners import listener
from tests.support.ports import free_port
from tests.support.subjects import subject


def ask(pids: set[int] | None = None, **options: object) -> Answer:
    return asyncio.run(tcp.ask(subject(pids=pids), **options))  # type: ignore[arg-type]


def test_a_port_that_accepts_connections_is_ready() -> None:
    with listener() as port:
        assert ask(port=port) == Answer(Health.READY, f"listens on 127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_closed_port_is_refused_in_one_sentence(host: str) -> None:
    port = free_port()
    shown = "127.0.0.1" if host == "0.0.0.0" else host
    assert ask(host=host, port=port) == Answer(Health.NOT_YET, f"connection refused on {shown}:{port}")


def test_the_process_table_is_not_walked_in_the_loop() -> None:
    it, threads = subject(), set[threading.Thread]()

    def pids() -> set[int]:
        threads.add(threading.current_thread())
        return set()

    it.pids = pids
    asyncio.run(tcp.ask(it))
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(("host", "port"), [("a..b", 80), ("a\0b", 80), ("a" * 64, 80), ("127.0.0.1", 70000)])
def test_what_is_no_address_is_a_sentence(host: str, port: int) -> None:
    assert ask(host=host, port=port) == Answer(Health.NOT_YET, f"no connection to {host}:{port}: that is no address")


def test_localhost_finds_a_server_that_listens_on_ipv6_alone() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert ask(host="localhost", port=server.getsockname()[1]).health is Health.READY


def test_without_a_port_any_port_of_the_process_tree_counts() -> None:
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        port = int(child.stdout.readline())
        assert ask(pids={child.pid}) == Answer(Health.READY, f"listens on 127.0.0.1:{port}")
        assert ports.owner_of(port) == ports.Owner(child.pid, *_named(child.pid))
        child.communicate(b"")


def _named(pid: int) -> tuple[str, str]:
    import psutil

    process = psutil.Process(pid)
    return process.name(), " ".join(process.cmdline())


def test_a_process_without_ports_has_not_opened_one_yet() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        assert ask(pids={child.pid}) == Answer(Health.NOT_YET, "has not opened a port yet")
        child.communicate(b"")


def test_a_pid_that_is_gone_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert ask(pids={child.pid}).health is Health.NOT_YET


def test_a_unix_socket_is_ready_when_somebody_accepts_on_it(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert ask(path=path) == Answer(Health.NOT_YET, f"no socket at {path} yet")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert ask(path=path) == Answer(Health.NOT_YET, f"connection refused on {path}")
        server.listen()
        assert ask(path=path) == Answer(Health.READY, f"listens on {path}")


def test_nobody_owns_a_free_port_and_we_own_ours() -> None:
    assert ports.owner_of(free_port()) is None
    with listener() as port:
        owner = ports.owner_of(port)
        assert owner is not None
        assert owner.pid == os.getpid()
        assert str(owner).endswith(f"(pid {os.getpid()})")
