"""`devstack up` on the demo shop: real Django, Celery, Redis, beat and Flower, as a person runs them."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from devstack.probes import ports
from tests.support.redis_server import redis_server
from tests.support.shop import Shop, make_shop
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Windows host is not written yet")


NO_COLOUR = {"NO_COLOR": "1"}


def run(shop: Shop, *arguments: str, **env: str) -> Up:
    return Up(shop.path, "up", *arguments, env={**NO_COLOUR, **env})


def leave(shop: Shop, up: Up) -> None:
    """Ctrl-C, and an independent look: no process of ours, nothing on the port of our Redis (which hides its environment)."""
    up.ctrl_c()
    assert up.ends() == 130
    assert up.left() == []
    assert ports.owner_of(int(shop.broker.rpartition(":")[2].partition("/")[0])) is None
    assert "killed" not in up.text


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return make_shop(tmp_path)


def without_redis_server() -> str:
    """A PATH with everything but Redis servers: what a fresh machine has."""
    return os.pathsep.join(
        entry for entry in os.environ["PATH"].split(os.pathsep) if not list(Path(entry).glob("redis-server"))
    )


def test_the_whole_shop_comes_up_in_order_works_and_leaves_nothing(shop: Shop) -> None:
    with run(shop) as up:
        up.until("all ready in")
        ready = re.findall(r"devstack +\| (\w+)\.1 is (?:ready|done)", up.text)
        assert ready[:2] == ["redis", "release"]
        assert set(ready[2:4]) == {"web", "worker"}
        assert set(ready[4:]) == {"beat", "flower"}
        assert f"web http://127.0.0.1:{shop.port}" in up.text
        assert re.search(
            r"worker\.1 is ready .* worker\.1@\S+ registered \(pid \d+, prefork ×2, queues celery, ?emails\)", up.text
        )

        customer = shop.customer()
        assert "mail to ada@example.com" in customer.order().result
        customer.sees_restocking(times=2)

        leave(shop, up)
        stopped = re.findall(r"devstack +\| (\w+)\.1 stopped", up.text)
        assert stopped.index("beat") < stopped.index("worker") < stopped.index("redis")
        assert "killed" not in up.text
    strays = {path.name for path in shop.path.iterdir()} & {
        "dump.rdb",
        "celerybeat-schedule",
        "celerybeat.pid",
        "celerybeat-schedule.db",
    }
    assert not strays


def test_where_no_redis_was_ever_installed_the_embedded_one_serves(shop: Shop) -> None:
    with run(shop, "worker", PATH=without_redis_server()) as up:
        up.until("all ready in")
        assert re.search(r"devstack runs valkey 9\S* there", up.text)
        leave(shop, up)


def test_a_redis_that_answers_is_used_and_never_stopped(shop: Shop) -> None:
    with redis_server() as server:
        with run(shop, "web", "worker", CELERY_BROKER_URL=server.url) as up:
            up.until("all ready in")
            assert "it is not ours and is never stopped" in up.text
            assert "mail to ada@example.com" in shop.customer().order().result
            up.ctrl_c()
            assert up.ends() == 130
        assert server.process.poll() is None, "still there after Ctrl-C"


def test_a_redis_with_a_password_works_and_the_password_is_never_shown(shop: Shop) -> None:
    with redis_server(password="s3cr3t-canary") as server:
        with run(shop, "web", "worker", CELERY_BROKER_URL=server.url) as up:
            up.until("all ready in")
            assert "mail to ada@example.com" in shop.customer().order().result
            up.ctrl_c()
            up.ends()
        ours = [line for line in up.text.splitlines() if "devstack" in line.partition("|")[0]]
        assert "s3cr3t-canary" not in "\n".join(ours)

        with run(shop, "worker", CELERY_BROKER_URL=f"redis://127.0.0.1:{server.port}/0") as up:
            assert up.ends() == 2
            assert "password" in up.text
            assert "error: cannot use the Redis at" in up.text


def test_our_own_redis_takes_the_password_of_the_url(shop: Shop) -> None:
    with run(shop, "web", "worker", CELERY_BROKER_URL=shop.broker.replace("//", "//:s3cr3t-canary@")) as up:
        up.until("all ready in")
        assert "mail to ada@example.com" in shop.customer().order().result
        up.ctrl_c()
        assert up.ends() == 130


def test_beat_with_the_database_scheduler_waits_for_its_tables(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, "database-scheduler")
    with run(shop, "web", "worker", "beat") as up:
        up.until("all ready in")
        assert re.search(r"beat\.1 is ready after .*: scheduling \d+ entr", up.text)
        shop.customer().sees_restocking(times=1)
        leave(shop, up)


def test_gunicorn_serves_on_the_port_it_is_given_and_leaves_cleanly(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, "gunicorn")
    with run(shop, "web", "worker") as up:
        up.until("all ready in")
        assert "mail to ada@example.com" in shop.customer().order().result
        leave(shop, up)


def test_a_saved_task_is_live_in_the_worker_and_in_the_web_server_that_imports_it(shop: Shop) -> None:
    with run(shop, "web", "worker") as up:
        up.until("all ready in")
        shop.edit("orders/tasks.py", 'return f"{text}, mail to {order.email}"', 'return f"NEW {text}"')
        for name in ("worker", "web"):
            up.until(rf"{name}\.1 reloaded in .* \(orders/tasks\.py\)")
        assert shop.customer().order().result.startswith("NEW ")
        assert "restarts" not in up.text
        leave(shop, up)


def test_broken_code_is_explained_and_the_next_save_mends_it(shop: Shop) -> None:
    with run(shop, "web", "worker") as up:
        up.until("all ready in")
        path = shop.path / "orders/tasks.py"
        good = path.read_text()
        path.write_text(good + "\ndef broken(:\n")
        up.until(r"error: .*orders/tasks\.py")
        path.write_text(good + "\nimport nosuchmodule\n")
        up.until(r"error: worker\.1 could not reload orders/tasks\.py; the old code keeps running")
        assert "No module named 'nosuchmodule'" in up.text
        path.write_text(good)
        up.until(r"worker\.1 reloaded in")
        assert "mail to ada@example.com" in shop.customer().order().result


def test_two_workers_have_names_of_their_own_and_no_watch_is_possible(shop: Shop) -> None:
    with run(shop, "worker", "-m", "worker=2", "--no-watch") as up:
        up.until("all ready in")
        assert re.search(r"worker\.1@\S+ registered", up.text)
        assert re.search(r"worker\.2@\S+ registered", up.text)
        (shop.path / "orders" / "tasks.py").touch()
        up.ctrl_c()
        assert up.ends() == 130
        assert "restarts" not in up.text


def test_a_killed_redis_comes_back_and_the_worker_is_not_blamed(shop: Shop) -> None:
    with run(shop, "web", "worker") as up:
        up.until("all ready in")
        owner = ports.owner_of(int(shop.broker.rpartition(":")[2].partition("/")[0]))
        assert owner
        assert owner.pid
        os.kill(owner.pid, signal.SIGKILL)
        up.until(r"redis\.1 was killed by SIGKILL")
        up.until(r"redis\.1 is ready", 2)
        assert "worker.1 exited" not in up.text
        assert "mail to ada@example.com" in shop.customer().order().result


def test_every_line_of_the_example_procfile_runs(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    example = (Path(__file__).parents[2] / "Procfile.example").read_text("utf-8")
    (shop.path / "Procfile").write_text(
        example.replace("-A shop", "-A config").replace("--port=5555", f"--port={shop.flower}")
    )
    names = re.findall(r"^(\w+):", example, re.MULTILINE)
    with run(shop, WEB_PORT=str(shop.port)) as up:
        up.until("all ready in")
        for name in names:
            assert re.search(rf"devstack +\| {name}\.1 is (ready|done)", up.text), name
        leave(shop, up)
