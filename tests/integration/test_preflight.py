from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

from devstack.core.causes import Cause
from devstack.core.model import ProbeSpec
from devstack.runtime import preflight
from tests.support.listeners import listener
from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def the_stranger_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has itself is waited for otherwise."""
    monkeypatch.setattr(preflight, "LET_GO_WITHIN", 0.0)


def taken(how: str = "tcp", **options: object) -> Cause | None:
    return asyncio.run(preflight.port_taken(ProbeSpec(how, options), "web"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_stranger_on_the_port_is_named(host: str) -> None:
    with listener() as port:
        cause = taken(host=host, port=port)
        assert cause is not None
        assert cause.why.startswith(f"port {port} is held by ")
        if sys.platform != "darwin":
            assert f"(pid {os.getpid()})" in cause.why
        assert "give web another port" in cause.fix


def test_a_stranger_on_ipv6_alone_is_found_since_the_probe_asks_there_too() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert taken("http", host="localhost", port=server.getsockname()[1]) is not None
        assert taken("http", host="127.0.0.1", port=server.getsockname()[1]) is None


def test_a_free_port_and_what_is_no_address_are_not_taken() -> None:
    assert taken(port=free_port()) is None
    assert taken(host="a..b", port=80) is None
    assert taken(port=70000) is None


def test_only_questions_about_a_known_port_are_looked_into() -> None:
    assert taken(port=None) is None
    with listener() as port:
        assert taken("redis", port=port) is None
