"""What a worker and a beat say of themselves, with the installed Celery and a real Redis."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import celery_project
from tests.support.redis_server import Server, redis_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="prefork and descriptors")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_server(password="s3cret") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Path:
    return celery_project.make(
        tmp_path / "project",
        server.url,
        beat_every=1.0,
        extra="broker_transport_options={'global_keyprefix': 'pre:', 'other': 1},",
    )


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_worker_says_who_it_is_and_that_it_leaves(project: Path, server: Server, pool: str) -> None:
    words = ["-P", pool, "-c", "2", "-n", "w.1@here", "-Q", "celery,emails", "--without-mingle"]
    with celery_project.booted(project, "worker", *words) as run:
        assert run.message("worker_starting")["node"] == "w.1@here"
        ready = run.message("worker_ready")
        assert ready["pid"] == run.process.pid
        assert (ready["node"], ready["pool"], ready["concurrency"]) == ("w.1@here", pool, 2)
        assert ready["queues"] == ["celery", "emails"]
        assert (ready["control_exchange"], ready["virtual_host"], ready["remote_control"]) == ("celery", "0", True)
        assert ready["transport_options"] == {"global_keyprefix": "pre:"}
        assert ready["has_password"] is True
        assert f"127.0.0.1:{server.port}/0" in str(ready["broker"])
        first = run.message("heartbeat")
        assert (
            run.message("heartbeat", lambda beat: float(str(beat["seen"])) > float(str(first["seen"])))["active"] == 0
        )
        assert run.stop() == 0
        assert run.message("worker_leaving")["how"] == "warm"
        assert "s3cret" not in str(run.messages)
        assert run.garbage == []


def test_heartbeats_count_the_tasks(project: Path) -> None:
    with celery_project.booted(
        project, "worker", "-P", "threads", "-c", "2", "-n", "w@here", "--without-mingle"
    ) as run:
        run.message("worker_ready")
        subprocess.run(
            [sys.executable, "-c", "import shop; [shop.add.delay(1, 2) for n in range(5)]; shop.sleep.delay(30)"],
            cwd=project,
            check=True,
        )
        assert run.message("heartbeat", lambda beat: beat["processed"] == 6)["active"] == 1


def test_the_channel_ends_with_the_main_process_though_its_pool_lives_on(project: Path) -> None:
    with celery_project.booted(project, "worker", "-P", "prefork", "-c", "1", "--without-mingle") as run:
        run.message("worker_ready")
        os.kill(run.process.pid, signal.SIGKILL)
        run.end_of_line(within=10)


def test_beat_tells_every_tick_and_what_it_sent(project: Path, tmp_path: Path) -> None:
    with celery_project.booted(project, "beat", "--pidfile=", "-s", str(tmp_path / "schedule")) as run:
        ready = run.message("beat_ready")
        assert (ready["pid"], ready["scheduler"]) == (run.process.pid, "celery.beat:PersistentScheduler")
        tick = run.message("beat_tick", lambda tick: tick["sent"] == "shop.add" and float(str(tick["next_in"])) > 0)
        assert tick["entries"] == 2
        assert float(str(tick["next_in"])) <= 1.0
        assert run.stop() == 0
        assert run.garbage == []


@pytest.mark.skipif(not importlib.util.find_spec("django_celery_beat"), reason="django-celery-beat is not installed")
def test_a_database_scheduler_ticks_too(tmp_path: Path, server: Server) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "settings.py").write_text(
        "SECRET_KEY = 'x'\nUSE_TZ = True\n"
        "INSTALLED_APPS = ['django.contrib.contenttypes', 'django_celery_beat']\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db.sqlite3'}}\n"
        "CELERY_BEAT_SCHEDULER = 'django_celery_beat.schedulers:DatabaseScheduler'\n"
        f"CELERY_BROKER_URL = {server.url!r}\n"
        "CELERY_BEAT_SCHEDULE = {'t': {'task': 'shop.add', 'schedule': 2.0}}\n"
        "CELERY_RESULT_EXPIRES = None\n"  # Else a clean-up at 4 o'clock is a second entry, in the hours around it.
    )
    (project / "shop.py").write_text(
        "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'settings')\n"
        "from celery import Celery\napp = Celery('shop')\n"
        "app.config_from_object('django.conf:settings', namespace='CELERY')\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(project)}
    migrate = [sys.executable, "-W", "ignore", "-m", "django", "migrate", "-v", "0"]
    subprocess.run(migrate, cwd=project, env=environment, check=True)
    # devstack names a schedule file: this scheduler takes the option, and writes none.
    with celery_project.booted(project, "beat", "--pidfile=", "-s", str(tmp_path / "schedule")) as run:
        assert run.message("beat_ready")["scheduler"] == "django_celery_beat.schedulers:DatabaseScheduler"
        assert run.message("beat_tick", lambda tick: tick["sent"] == "shop.add")["entries"] == 1
        assert run.stop() == 0
        assert not list(tmp_path.glob("schedule*"))


def test_a_receiver_that_meets_strange_things_says_less_and_never_raises() -> None:
    from celery.utils.dispatch import Signal

    from devstack.inside import beacon

    class Signals:
        celeryd_init = Signal(name="a")
        worker_ready = Signal(name="b")
        heartbeat_sent = Signal(name="c")
        worker_shutting_down = Signal(name="d")
        beat_init = Signal(name="e")
        after_task_publish = Signal(name="f")

    said: list[tuple[str, dict[str, object]]] = []
    beacon.attach(SimpleNamespace(node="", say=lambda kind, **fields: said.append((kind, fields))), Signals)
    Signals.celeryd_init.send(sender="w@h", instance=object())
    assert said == [("worker_starting", {"pid": os.getpid(), "node": "w@h"})]
    for signal_ in (Signals.worker_ready, Signals.beat_init):
        assert [answer for _, answer in signal_.send(sender=object())] == [None]


def test_a_scheduler_without_a_heap_still_ticks() -> None:
    from celery.utils.dispatch import Signal

    from devstack.inside import beacon

    class Signals:
        after_task_publish = Signal(name="f")

    class Scheduler:
        def tick(self, extra: int = 1) -> object:
            return None if extra == 1 else extra

    class Service:
        scheduler = Scheduler()

    said: list[dict[str, object]] = []
    beacon.beat(Service, lambda kind, **fields: said.append({"type": kind, **fields}), Signals)
    assert Service.scheduler.tick() is None
    assert Service.scheduler.tick(extra=5) == 5
    ticks = [{key: tick[key] for key in ("next_in", "entries", "sent")} for tick in said if tick["type"] == "beat_tick"]
    assert ticks == [{"next_in": 0, "entries": None, "sent": ""}, {"next_in": 5, "entries": None, "sent": ""}]
