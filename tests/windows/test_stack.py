"""The demo shop on Windows: Django, a solo worker, beat and Flower, with a Redis that runs already (BROKER_FOR_TESTS), or else with the
embedded server."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from pathlib import Path

import pytest

from devstack.demo.customer import Customer
from devstack.demo.layout import lay_out
from tests.support.ports import free_port
from tests.support.windows import Up

BROKER = os.environ.get("BROKER_FOR_TESTS", "")
pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows, or wine: scripts/test.py --wine")

SLOW = """
from celery import shared_task as slow_shared_task


@slow_shared_task
def slow(name, seconds):
    import time
    print(f"slow {name} began", flush=True)
    time.sleep(seconds)
    print(f"slow {name} ended", flush=True)
"""

URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse(b'old'))]
"""


class Shop:
    def __init__(self, directory: Path, *, only: str = "", broker: str = BROKER) -> None:
        self.path = directory / "my shop (é)"
        lay_out(self.path)
        self.port, flower = free_port(), free_port()
        self.broker = f"{broker}/{free_port() % 14 + 1}" if broker else f"redis://127.0.0.1:{free_port()}/0"
        text = f"PORT={self.port}\nFLOWER_PORT={flower}\nCELERY_BROKER_URL={self.broker}\n"
        (self.path / ".env").write_bytes(text.replace("\n", "\r\n").encode())
        tasks = self.path / "orders" / "tasks.py"
        tasks.write_bytes(tasks.read_bytes() + SLOW.encode())
        procfile = (self.path / "Procfile").read_text("utf-8").splitlines()
        kept = [line for line in procfile if not only or re.match(only, line)]
        (self.path / "Procfile").write_bytes("\r\n".join([*kept, ""]).encode())
        if broker:
            import redis

            with redis.Redis.from_url(self.broker) as server:
                server.flushdb()

    def send_slow(self, name: str, seconds: float) -> None:
        from celery import Celery

        with Celery(broker=self.broker) as app:
            app.send_task("orders.tasks.slow", (name, seconds))

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.path / name
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")


def answer(shop: Shop) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{shop.port}/", timeout=20) as said:
        found: bytes = said.read()
    return found


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def worker(tmp_path: Path) -> Shop:
    return Shop(tmp_path, only="worker")


def test_the_whole_stack_gets_ready_on_the_embedded_server_takes_an_order_and_goes(tmp_path: Path) -> None:
    shop = Shop(tmp_path, broker="")
    with Up(shop.path, "up") as up:
        up.until("all ready")
        assert "--pool=solo was added" in up.text
        assert "embedded server" in up.text
        assert Customer(f"http://127.0.0.1:{shop.port}/").order().result
        for name in ("redis", "web", "worker", "beat", "flower"):
            assert re.search(rf"{name}\.1 is ready", up.text)
        up.ctrl_c()
        assert up.ends() == 130
        up.leaves_nothing()
        assert "Traceback" not in up.text
    assert not list(shop.path.glob("celerybeat*"))


def test_a_running_task_is_finished_before_the_worker_leaves(worker: Shop) -> None:
    with Up(worker.path, "up", "--no-watch") as up:
        up.until("all ready")
        worker.send_slow("one", 3.0)
        up.until("slow one began")
        up.ctrl_c()
        assert up.ends() == 130
        assert "slow one ended" in up.text
        up.leaves_nothing()


def test_a_worker_that_cannot_be_ordered_is_asked_by_ctrl_c(worker: Shop) -> None:
    """As the first: warm, the task finishes, and exit code 1 is no crash."""
    settings = "[processes.worker]\nas_written = true\ngrace = 30.0\n"
    (worker.path / "devstack.toml").write_text(settings, "utf-8")
    worker.edit("Procfile", "config worker", "config worker --pool=solo")
    with Up(worker.path, "up", "--no-watch") as up:
        up.until("ready\\.")
        worker.send_slow("one", 3.0)
        up.until("slow one began")
        up.ctrl_c()
        assert up.ends() == 130
        assert "slow one ended" in up.text
        assert "worker.1 stopped" in up.text
        up.leaves_nothing()


def test_a_save_is_live_in_the_worker_and_no_task_is_lost_or_done_twice(worker: Shop) -> None:
    with Up(worker.path, "up") as up:
        up.until("all ready")
        worker.send_slow("old", 3.0)
        for number in range(10):
            worker.send_slow(f"queued{number}", 0.0)
        up.until("slow old began")
        worker.edit("orders/tasks.py", "slow {name} began", "slow {name} begins")
        up.until(r"worker\.1 reloaded in")
        worker.send_slow("new", 0.0)
        up.until("slow new ended")
        up.until("slow queued9 ended")
        assert "slow old ended" in up.text
        assert "slow new begins" in up.text
        for name in ("old", *(f"queued{number}" for number in range(10))):
            assert up.text.count(f"slow {name} ended") == 1
        up.ctrl_c()
        assert up.ends() == 130
        up.leaves_nothing()


def test_broken_code_does_not_replace_working_code(worker: Shop) -> None:
    with Up(worker.path, "up") as up:
        up.until("all ready")
        tasks = worker.path / "orders" / "tasks.py"
        whole = tasks.read_bytes()
        tasks.write_bytes(whole + b"\nimport nonesuch_module\n")
        up.until("nonesuch_module")
        worker.send_slow("on", 0.0)
        up.until("slow on ended")
        tasks.write_bytes(whole + b"\n# mended\n")
        up.until(r"worker\.1 reloaded in")
        up.ctrl_c()
        assert up.ends() == 130


def test_the_web_server_shows_a_save(tmp_path: Path) -> None:
    shop = Shop(tmp_path, only="web|release")
    (shop.path / "config" / "urls.py").write_text(URLS, "utf-8")
    with Up(shop.path, "up") as up:
        up.until("all ready")
        assert answer(shop) == b"old"
        shop.edit("config/urls.py", "b'old'", "b'new'")
        up.until(r"web\.1 is ready|web\.1 reloaded", times=2)
        assert answer(shop) == b"new"
        up.ctrl_c()
        assert up.ends() == 130
        up.leaves_nothing()


def test_nothing_is_left_of_the_stack_when_devstack_is_killed(shop: Shop) -> None:
    with Up(shop.path, "up") as up:
        up.until("all ready")
        up.process.kill()
        up.process.wait()
        up.leaves_nothing()
