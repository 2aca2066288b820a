"""New code takes over the very socket of the old: nobody is refused, what is under way is answered, and then only the new answers."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.handover import WITHIN, Succession
from tests.support.reload_load import Visitors

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are handed on by descriptor")

APP = """\
import asyncio, os, sys, threading, time
from pathlib import Path

VERSION = b"1"
SLOW = 1.0


def note(name):
    Path(name).touch()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        note("under-way")
        time.sleep(SLOW)
    start_response("200 OK", [("Content-Length", str(len(VERSION)))])
    return [VERSION]


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        note("under-way")
        await asyncio.sleep(SLOW)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(VERSION))]})
    await send({"type": "http.response.body", "body": VERSION})
"""
MANAGE = """\
import os, sys, time
from pathlib import Path
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import path
import app


def index(request):
    return HttpResponse(app.VERSION, headers={"Content-Length": len(app.VERSION)})


def slow(request):
    app.note("under-way")
    time.sleep(app.SLOW)
    return HttpResponse(app.VERSION)


def lines():
    for number in range(5):
        yield app.VERSION
        app.note("under-way")
        time.sleep(0.2)


urlpatterns = [
    path("", index), path("slow", slow), path("stream", lambda request: StreamingHttpResponse(lines())),
    path("upload", lambda request: HttpResponse(str(len(request.body)))),
    path("page", lambda request: render(request, "page.html")),
]
if not settings.configured:
    settings.configure(
        DEBUG=True, ALLOWED_HOSTS=["*"], ROOT_URLCONF="manage", SECRET_KEY="x",
        INSTALLED_APPS=os.environ.get("APPS", "").split(), ASGI_APPLICATION="served.application",
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["templates", "more"]}],
    )
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""
SERVED = """\
import manage
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""
FLASK = """\
import flask, app
application = flask.Flask(__name__)
application.add_url_rule("/", "index", lambda: app.VERSION)
@application.route("/slow")
def slow():
    app.note("under-way")
    app.time.sleep(app.SLOW)
    return app.VERSION
"""
LOOPS = ["--loop", "asyncio", "--http", "h11"]


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"without {', '.join(missing)}")


RUNSERVER = "script manage.py runserver --noreload PORT"
UVICORN = "module uvicorn app:asgi --port PORT --loop asyncio"
GUNICORN = "module gunicorn app --bind 127.0.0.1:PORT"
SERVERS = [
    pytest.param(RUNSERVER, marks=needs("django"), id="runserver"),
    pytest.param(f"{RUNSERVER} --nothreading", marks=needs("django"), id="runserver without threads"),
    pytest.param(f"APPS=daphne {RUNSERVER}", marks=needs("django", "daphne"), id="runserver of daphne"),
    pytest.param(GUNICORN, marks=needs("gunicorn"), id="gunicorn"),
    pytest.param(f"{GUNICORN} --workers 2 --threads 2", marks=needs("gunicorn"), id="gunicorn with threads"),
    pytest.param(f"{GUNICORN} -k gevent", marks=needs("gunicorn", "gevent"), id="gunicorn with gevent"),
    pytest.param(
        "module gunicorn app:asgi -k uvicorn_worker.UvicornWorker --bind 127.0.0.1:PORT",
        marks=needs("gunicorn", "uvicorn_worker"),
        id="gunicorn with uvicorn",
    ),
    pytest.param(UVICORN, marks=needs("uvicorn"), id="uvicorn"),
    pytest.param("module uvicorn app:asgi --port PORT --loop uvloop", marks=needs("uvicorn", "uvloop"), id="uvloop"),
    pytest.param(
        "module hypercorn app:asgi --bind 127.0.0.1:PORT --workers 0", marks=needs("hypercorn"), id="hypercorn"
    ),
    pytest.param("module daphne -p PORT app:asgi", marks=needs("daphne"), id="daphne"),
    pytest.param("module flask --app shop:application run --port PORT", marks=needs("flask"), id="flask"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, text in (("app", APP), ("manage", MANAGE), ("served", SERVED), ("shop", FLASK)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def begin(place: Path, line: str) -> Succession:
    words = line.split()
    env = dict(word.split("=") for word in words if re.match("[A-Z]+=", word))
    succession = Succession(place, *[word for word in words if not re.match("[A-Z]+=", word)], **env)
    succession.start()
    return succession


def save(place: Path, version: int) -> None:
    (place / "app.py").write_text(APP.replace('b"1"', f'b"{version}"'))


def under_way(place: Path) -> None:
    deadline = time.monotonic() + WITHIN
    while not (place / "under-way").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=WITHIN) as answer:
        return str(answer.read().decode())


def until_answered(url: str, version: str) -> None:
    """The old code has not read its order yet."""
    deadline = time.monotonic() + WITHIN
    while get(url + "/") != version:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("line", SERVERS)
def test_no_request_fails_and_in_the_end_only_new_code_answers(place: Path, line: str) -> None:
    with begin(place, line) as succession:
        succession.runs[0].message("listening")
        with Visitors(succession.url + "/", 100) as visitors:
            for version in (2, 3):
                save(place, version)
                old = succession.next()
                visitors.wait_for_version(version)
                old.leave()
                old.gone()
                since = time.monotonic()
                visitors.wait_for_visits_since(since, 20)
                late = [visit.answer for visit in visitors.visits if visit.began > since]
                assert set(late) == {str(version)}
            visitors.halt()
        assert not visitors.failed()


@pytest.mark.parametrize("line", SERVERS)
def test_a_request_under_way_is_answered_by_the_code_that_took_it(place: Path, line: str) -> None:
    with begin(place, line) as succession, ThreadPoolExecutor(1) as threads:
        succession.runs[0].message("listening")
        answer = threads.submit(get, succession.url + "/slow")
        under_way(place)
        save(place, 2)
        old = succession.next()
        old.leave()
        until_answered(succession.url, "2")
        assert answer.result(WITHIN) == "1"
        old.gone()
