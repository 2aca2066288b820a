"""Real servers, started and asked to leave as their kinds say: they become ready, answer what is under way, and leave nothing behind."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack.core.health import Answer, Health, Subject
from devstack.core.model import Launch
from devstack.kinds import Context, Kind, recognise
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
WITHIN = 20.0

APP = """\
import asyncio, atexit, os, threading
from pathlib import Path

SLOW = 1.0
bind = "127.0.0.1:0"  # Read when gunicorn is told to take its settings from here.


def note(name):
    Path(name).touch()


atexit.register(note, "atexit")


def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        note("under-way")
        threading.Event().wait(SLOW)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        note("under-way")
        await asyncio.sleep(SLOW)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
MANAGE = """\
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
import app

urlpatterns = [path("", lambda request: HttpResponse("ok"))]
if not settings.configured:
    settings.configure(DEBUG=True, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x")
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""


@dataclass
class Running:
    kind: Kind
    process: subprocess.Popen[bytes]
    directory: Path
    port: int

    def ready(self) -> Answer:
        """What the kind's own probe says in the end."""
        launch = Launch((), {}, str(self.directory))
        subject = Subject("web.1", 1, self.process.pid, launch, time.monotonic(), pids=self.pids)
        ask = importlib.import_module(f"devstack.probes.{self.kind.probe.how}").ask
        deadline = time.monotonic() + WITHIN
        while True:
            answer: Answer = asyncio.run(ask(subject, **self.kind.probe.options))
            if answer.health is Health.READY or time.monotonic() > deadline or self.process.poll() is not None:
                return answer

    def pids(self) -> set[int]:
        import psutil

        return {self.process.pid, *(each.pid for each in psutil.Process(self.process.pid).children(recursive=True))}

    def leave(self) -> None:
        """As the supervisor does it."""
        number = getattr(signal, f"SIG{self.kind.stop_signal}")
        (os.killpg if self.kind.signal_group else os.kill)(self.process.pid, number)

    def gone(self) -> bool:
        """Whether the whole group is, in time."""
        self.process.wait(WITHIN)
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
        return False


Start = Callable[[str], Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "manage.py").write_text(MANAGE)
    running: list[Running] = []

    def begin(line: str) -> Running:
        port = free_port()
        words = [word.replace("PORT", str(port)) for word in line.split()]
        kind = recognise(words, Context("web.1", 1, sys.platform, {}, str(tmp_path), str(tmp_path)))
        output = (tmp_path / "output").open("wb")
        with output:
            process = subprocess.Popen(
                [sys.executable, *words[1:]],
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        running.append(Running(kind, process, tmp_path, port))
        return running[-1]

    yield begin
    for each in running:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"without {', '.join(missing)}")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("python -m gunicorn app --workers 2 --bind 127.0.0.1:PORT", marks=needs("gunicorn")),
        pytest.param("python -m gunicorn app --threads 2 --bind 127.0.0.1:PORT", marks=needs("gunicorn")),
        pytest.param("python -m uvicorn app:asgi --port PORT", marks=needs("uvicorn")),
        pytest.param("python -m uvicorn app:asgi --workers 2 --port PORT", marks=needs("uvicorn")),
        pytest.param("python -m hypercorn app:asgi --bind 127.0.0.1:PORT", marks=needs("hypercorn")),
        pytest.param("python -m granian --interface asgi --port PORT app:asgi", marks=needs("granian")),
        pytest.param("python -m waitress --listen=127.0.0.1:PORT app:application", marks=needs("waitress")),
    ],
)
def test_a_request_under_way_is_answered_before_the_server_leaves(start: Start, line: str) -> None:
    server = start(line)
    assert server.ready().health is Health.READY, (server.directory / "output").read_text()
    with ThreadPoolExecutor(1) as threads:
        url = f"http://127.0.0.1:{server.port}/slow"
        answer = threads.submit(lambda: urllib.request.urlopen(url, timeout=WITHIN).read())
        deadline = time.monotonic() + WITHIN
        while not (server.directory / "under-way").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        server.leave()
        assert answer.result(WITHIN) == b"ok"
    assert server.gone()


@pytest.mark.parametrize("line", ["python manage.py runserver PORT", "python manage.py runserver --noreload 0:PORT"])
@needs("django")
def test_runserver_runs_its_atexit_functions_and_leaves_nothing_behind(start: Start, line: str) -> None:
    server = start(line)
    assert server.ready().health is Health.READY, (server.directory / "output").read_text()
    server.leave()
    assert server.gone()
    assert server.process.returncode == 0
    assert (server.directory / "atexit").exists()


@needs("daphne")
def test_daphne_leaves_at_once(start: Start) -> None:
    server = start("python -m daphne -p PORT app:asgi")
    assert server.ready().health is Health.READY, (server.directory / "output").read_text()
    server.leave()
    assert server.gone()
    assert server.process.returncode == 0


@needs("gunicorn")
def test_a_port_that_only_the_server_knows_is_found(start: Start) -> None:
    server = start("python -m gunicorn app --config python:app")
    assert server.kind.probe.options["port"] is None
    answer = server.ready()
    assert answer.health is Health.READY, answer.why
    server.leave()
    assert server.gone()
