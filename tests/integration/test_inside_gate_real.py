"""Real programs out of a spare: they come up with the code of after the save, say the same, and end the same, as from a cold start."""

from __future__ import annotations

import re
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import celery_project, spares
from tests.support.ports import free_port
from tests.support.redis_server import Server, redis_server
from tests.support.spares import Run, Spare

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="spares are forked on Linux alone")

BIN = Path(sys.executable).parent
SETTINGS = """
SECRET_KEY = "x"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
import version
urlpatterns = [path("", lambda request: HttpResponse(version.VERSION))]
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
WSGI = """
import version
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [version.VERSION.encode()]
async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": version.VERSION.encode()})
"""


@dataclass
class Program:
    words: tuple[str, ...]
    ready: str
    """The message that says so; empty for a web server, which answers."""


PROGRAMS = {
    "worker": Program(
        ("script", str(BIN / "celery"), "-A", "shop", "worker", "-c", "1", "-n", "w@%h", "--without-mingle"),
        "worker_ready",
    ),
    "worker as a module": Program(
        ("module", "celery", "-A", "shop", "worker", "-P", "solo", "--without-mingle"), "worker_ready"
    ),
    "beat": Program(("script", str(BIN / "celery"), "-A", "shop", "beat", "-s", "{place}/.beat"), "beat_ready"),
    "flower": Program(("module", "celery", "-A", "shop", "flower", "--address=127.0.0.1", "--port={port}"), ""),
    "runserver": Program(("script", "manage.py", "runserver", "--noreload", "127.0.0.1:{port}"), ""),
    "gunicorn": Program(
        ("script", str(BIN / "gunicorn"), "app:app", "-b", "127.0.0.1:{port}", "--no-control-socket"), ""
    ),
    "uvicorn": Program(("module", "uvicorn", "app:asgi", "--port", "{port}"), ""),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_server() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Path:
    celery_project.make(tmp_path, broker=server.url)
    shop = tmp_path / "shop.py"
    shop.write_text(shop.read_text() + "import version\nprint('version', version.VERSION, flush=True)\n")
    for name, text in {"settings": SETTINGS, "urls": URLS, "manage": MANAGE, "app": WSGI}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "version.py").write_text("VERSION = 'old'\n")
    return tmp_path


def answer(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
            return str(response.read().decode())
    except OSError as error:
        return "" if not hasattr(error, "code") else str(error.code)


def until(true: Callable[[], object], why: Callable[[], object], within: float = 40) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


def come_up(run: Run, program: Program, port: int) -> str:
    """Waits until it does its work; the version that it has."""
    if program.ready:
        run.message(program.ready, within=40)
        return run.output().decode().partition("version ")[2].split()[0]
    until(lambda: answer(port) or run.ended, run.output)
    if "flower" in program.words:
        return run.output().decode().partition("version ")[2].split()[0]
    return answer(port)


def names(run: Run) -> list[str]:
    return [str(each) for message in run.said("imported") for each in message.get("modules", [])]  # type: ignore[attr-defined]


def said(run: Run, before: bytes = b"") -> list[str]:
    """What it wrote, without what differs from run to run."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", (before + run.output()).decode())
    return sorted(
        {re.sub(r"0x[0-9a-f]+|\d+", "#", line).strip() for line in text.splitlines() if "version" not in line} - {""}
    )


def clean(place: Path, words: list[str], warm: list[str]) -> Iterator[Spare]:
    """As the supervisor does it: a spare that had to skip modules is made again without them."""
    for _ in range(3):
        with spares.waiting(place, *words) as spare:
            skipped = spare.warm(*warm)["skipped"]
            assert isinstance(skipped, list)
            if not skipped:
                yield spare
                return
            warm = [name for name in warm if name not in skipped]
    raise AssertionError(f"never clean: {skipped}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_real_program_comes_up_with_new_code_and_is_otherwise_the_same(place: Path, name: str) -> None:
    program, port = PROGRAMS[name], free_port()
    words = [word.format(port=port, place=place) for word in program.words]
    with spares.made(place, *words, standby=False) as run:
        assert come_up(run, program, port) == "old"
        warm = names(run)
        code, wrote = run.stop(), said(run)
    assert len(warm) > 100

    for spare in clean(place, words, warm):
        assert spare.use == "fork", spare.beacon["unsafe"]
        for version, node in (("new", ""), ("more", "b")):
            (place / "version.py").write_text(f"VERSION = '{version}'\n")
            out: Run = spare.fork(f"node={node}" if node else "")
            assert come_up(out, program, port) == version
            assert spare.end_fork(out) == code
            lines = said(out, spare.output())
            assert [line.replace("-b@", "@") if node else line for line in lines] == wrote


@pytest.mark.parametrize("name", ["worker", "runserver"])
def test_a_spare_that_is_let_go_is_the_program(place: Path, name: str) -> None:
    program, port = PROGRAMS[name], free_port()
    words = [word.format(port=port, place=place) for word in program.words]
    with spares.waiting(place, *words) as spare:
        (place / "version.py").write_text("VERSION = 'new'\n")
        run = spare.go()
        assert come_up(run, program, port) == "new"
        assert run.stop() == (0 if name == "worker" else -signal.SIGTERM)
