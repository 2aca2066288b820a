"""New code takes over the very socket of the old: nobody is refused, what is under way is answered, and then only the new answers."""

from __future__ import annotations

import contextlib
import errno
import http.client
import importlib.util
import os
import re
import signal
import socket
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


def endless():
    while True:
        yield app.VERSION
        time.sleep(0.05)


urlpatterns = [
    path("endless", lambda request: StreamingHttpResponse(endless())),
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
FLASK_RUN = "module flask --app shop:application run --port PORT"
FLASK_TAKEN_OVER = "WERKZEUG_RUN_MAIN=devstack module flask --app shop:application --debug run --port PORT --no-reload"
GUNICORN = "module gunicorn app --bind 127.0.0.1:PORT"
SERVERS = [
    pytest.param(RUNSERVER, marks=needs("django"), id="runserver"),
    pytest.param(f"{RUNSERVER} --nothreading", marks=needs("django"), id="runserver without threads"),
    pytest.param(f"APPS=daphne {RUNSERVER}", marks=needs("django", "daphne"), id="runserver of daphne"),
    pytest.param(GUNICORN, marks=needs("gunicorn"), id="gunicorn"),
    pytest.param(f"{GUNICORN} --threads 2", marks=needs("gunicorn"), id="gunicorn with threads"),
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
    pytest.param(FLASK_RUN, marks=needs("flask"), id="flask"),
    pytest.param(FLASK_TAKEN_OVER, marks=needs("flask"), id="flask in place of its reloader"),
]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, text in (("app", APP), ("manage", MANAGE), ("served", SERVED), ("shop", FLASK)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def begin(place: Path, line: str) -> Succession:
    words = line.split()
    env = dict(word.split("=") for word in words if re.match("[A-Z_]+=", word))
    succession = Succession(place, *[word for word in words if not re.match("[A-Z_]+=", word)], **env)
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


@pytest.mark.parametrize("line", SERVERS)
def test_the_old_code_leaves_also_if_nobody_asks_for_anything_any_more(place: Path, line: str) -> None:
    with begin(place, line) as succession:
        succession.runs[0].message("listening")
        old = succession.next()
        # Both are awake for each of them, and one is too late to accept it.
        assert {get(succession.url + "/") for _ in range(20)} == {"1"}
        assert not any(map(os.get_blocking, old.listeners))
        old.leave()
        old.gone()
        assert get(succession.url + "/") == "1"


@pytest.mark.parametrize("line", SERVERS)
def test_code_that_cannot_be_imported_replaces_nothing(place: Path, line: str) -> None:
    with begin(place, line) as succession:
        old = succession.runs[0]
        old.message("listening")
        (place / "app.py").write_text("import no_such_module\n")
        new = succession.start()
        assert new.gone() != 0
        assert "listening" not in new.beacon
        (place / "app.py").write_text("")
        assert {get(succession.url + "/") for _ in range(5)} == {"1"}
        assert old.process.poll() is None


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(RUNSERVER, marks=needs("django")),
        pytest.param(UVICORN, marks=needs("uvicorn")),
        pytest.param(FLASK_RUN, marks=needs("flask")),
    ],
)
def test_connections_that_are_kept_alive_go_over_without_a_lost_request(place: Path, line: str) -> None:
    with begin(place, line) as succession:
        succession.runs[0].message("listening")
        busy = http.client.HTTPConnection("127.0.0.1", succession.port, timeout=WITHIN)
        idle = http.client.HTTPConnection("127.0.0.1", succession.port, timeout=WITHIN)
        unused = socket.create_connection(("127.0.0.1", succession.port), timeout=WITHIN)
        for each in (busy, idle):
            each.request("GET", "/")
            assert each.getresponse().read() == b"1"
        busy.request("GET", "/slow")
        under_way(place)
        save(place, 2)
        old = succession.next()
        old.leave()
        assert busy.getresponse().read() == b"1"
        old.gone()
        # What was idle has been closed, and nothing waits for it: the next request is for the new code.
        assert unused.recv(1) == b""
        for connection in (busy, idle):
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
                connection.request("GET", "/")
                connection.getresponse().read()
            connection.close()
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"2"
            connection.close()
        unused.close()


@needs("django")
def test_streams_and_uploads_that_have_begun_are_finished(place: Path) -> None:
    with begin(place, RUNSERVER) as succession, ThreadPoolExecutor(1) as threads:
        succession.runs[0].message("listening")
        stream = threads.submit(get, succession.url + "/stream")
        upload = http.client.HTTPConnection("127.0.0.1", succession.port, timeout=WITHIN)
        upload.putrequest("POST", "/upload")
        upload.putheader("Content-Length", "200000")
        upload.endheaders(b"x" * 100)
        under_way(place)
        save(place, 2)
        old = succession.next()
        old.leave()
        old.message("leaving")
        assert stream.result(WITHIN) == "1" * 5
        upload.send(b"x" * 199_900)
        assert upload.getresponse().read() == b"200000"
        upload.close()
        assert old.gone() == 0


@needs("django")
def test_a_stream_without_an_end_goes_when_the_patience_is_over(place: Path) -> None:
    with begin(place, RUNSERVER) as succession:
        old = succession.runs[0]
        old.message("listening")
        with urllib.request.urlopen(succession.url + "/endless", timeout=WITHIN) as answer:
            assert answer.read(1)
            old.leave()
            old.message("leaving")
            assert old.process.poll() is None
            old.process.send_signal(signal.SIGINT)
            assert old.gone() == 0


@needs("django")
def test_a_runserver_without_its_reloader_shows_saved_templates(place: Path) -> None:
    for name in ("templates", "more"):
        (place / name).mkdir()
    base, page = place / "more" / "base.html", place / "more" / "page.html"
    base.write_text("base {% block x %}{% endblock %}")
    page.write_text("{% extends 'base.html' %}{% block x %}page{% endblock %}")
    with begin(place, RUNSERVER) as succession:
        succession.runs[0].message("listening")
        url = succession.url + "/page"
        assert get(url) == "base page"
        page.write_text("{% extends 'base.html' %}{% block x %}changed page{% endblock %}")
        assert get(url) == "base changed page"
        base.write_text("other base {% block x %}{% endblock %}")
        assert get(url) == "other base changed page"
        # One that is found before it, and then no more.
        first = place / "templates" / "page.html"
        first.write_text("first")
        assert get(url) == "first"
        first.unlink()
        assert get(url) == "other base changed page"


@needs("flask")
def test_a_flask_program_sees_what_it_would_see_under_its_own_reloader(place: Path) -> None:
    asks = """
import os, werkzeug.serving
early = os.environ["WERKZEUG_RUN_MAIN"], werkzeug.serving.is_running_from_reloader()
@application.route("/asks")
def asks():
    return f"{early} {os.environ['WERKZEUG_RUN_MAIN']} {werkzeug.serving.is_running_from_reloader()}"
"""
    (place / "shop.py").write_text(FLASK + asks)
    with begin(place, FLASK_TAKEN_OVER) as succession:
        for run in (succession.runs[0], None):
            run = run or succession.start()
            run.message("listening")
            # The address is the first process's to say there, and the number of the debugger the second's. Here is only one.
            for text in ("Serving Flask app", "Running on http", "Debugger PIN"):
                run.says(text)
        assert get(succession.url + "/asks") == "('true', True) true True"


@needs("gunicorn")
@pytest.mark.parametrize("said", ["GUNICORN_CMD_ARGS=--reload", "FILE=reload"])
def test_the_reloader_of_gunicorn_is_off_whoever_switched_it_on(place: Path, said: str) -> None:
    if said.startswith("FILE"):
        (place / "gunicorn.conf.py").write_text("reload = True\n")
    tells = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [" ".join(type(each).__name__ for each in threading.enumerate()).encode()]
"""
    (place / "app.py").write_text(APP + tells)
    with begin(place, f"{said} {GUNICORN}") as succession:
        succession.runs[0].message("listening")
        assert get(succession.url) == "_MainThread"


@needs("uvicorn")
def test_the_reloader_of_uvicorn_is_off_where_a_variable_switches_it_on(place: Path) -> None:
    with begin(place, f"UVICORN_RELOAD=true WEB_CONCURRENCY=2 {UVICORN}") as succession:
        # It would serve in another process.
        assert succession.runs[0].message("listening")["leave"] == "order"
        assert get(succession.url + "/") == "1"


SOCKETS = """\
import socket, sys, threading, time
import socketserver
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

port, what = int(sys.argv[1]), sys.argv[2]

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

if what == "in a thread":
    server = HTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
elif what == "any port":
    ThreadingHTTPServer(("127.0.0.1", 0), Handler).server_close()
elif what == "unix":
    plain = socket.socket(socket.AF_UNIX)
    plain.bind("x.sock")
    plain.listen()
elif what == "datagrams":
    with socket.socket(type=socket.SOCK_DGRAM) as first:
        first.bind(("127.0.0.1", 0))
        found = first.getsockname()
    socket.socket(type=socket.SOCK_DGRAM).bind(found)
elif what == "taken":
    other = socket.socket()
    other.bind(("127.0.0.1", port))
    other.listen()
    try:
        HTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        print(error.errno, error.strerror, flush=True)
elif what == "tries first":
    for _ in range(2):
        with socket.socket() as first:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first.bind(("127.0.0.1", port))
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
    sys.exit()
elif what == "fork":
    import os
    if not os.fork():
        HTTPServer(("127.0.0.1", port), Handler)
        os._exit(0)
    os.wait()
print("done", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("what", ["any port", "unix", "datagrams", "fork", "nothing"])
def test_other_sockets_are_none_of_our_business(place: Path, what: str) -> None:
    (place / "sockets.py").write_text(SOCKETS)
    with Succession(place, "script", "sockets.py", "PORT", what) as succession:
        run = succession.start()
        run.says("done")
        assert run.beacon.keys() <= {"hello", "imported"}
        assert not run.listeners


def test_a_port_that_somebody_else_has_is_still_an_error(place: Path) -> None:
    (place / "sockets.py").write_text(SOCKETS)
    with Succession(place, "script", "sockets.py", "PORT", "taken") as succession:
        succession.start().says(f"{errno.EADDRINUSE} Address already in use\ndone")


def test_the_port_of_an_exporter_in_a_thread_is_shared_and_says_nothing_of_a_server(place: Path) -> None:
    (place / "sockets.py").write_text(SOCKETS)
    with Succession(place, "script", "sockets.py", "PORT", "in a thread") as succession:
        old = succession.start()
        old.says("done")
        new = succession.start()
        new.says("done")
        old.process.kill()
        old.process.wait()
        assert {get(succession.url) for _ in range(3)} == {"ok"}
        assert new.message("bound")["port"] == succession.port
        assert "listening" not in {*old.beacon, *new.beacon}


def test_a_program_that_tries_first_whether_it_can_bind_gets_the_socket(place: Path) -> None:
    (place / "sockets.py").write_text(SOCKETS)
    with Succession(place, "script", "sockets.py", "PORT", "tries first") as succession:
        succession.start().message("listening")
        old = succession.next()
        old.leave()
        old.gone()
        assert get(succession.url) == "ok"


@needs("daphne")
def test_the_end_of_a_new_daphne_is_not_the_end_of_the_socket(place: Path) -> None:
    with begin(place, "module daphne -p PORT app:asgi") as succession:
        old = succession.runs[0]
        old.message("listening")
        save(place, 2)
        new = succession.start()
        until_answered(succession.url, "2")
        new.process.send_signal(signal.SIGTERM)
        new.gone()
        assert get(succession.url + "/") == "1"


def test_a_server_at_another_address_does_not_get_the_socket(place: Path) -> None:
    with Succession(place, "module", "http.server", "--bind", "127.0.0.1", "PORT") as succession:
        succession.start().message("listening")
        succession.words[succession.words.index("127.0.0.1")] = "127.0.0.2"
        old = succession.next()
        assert old.process.poll() is None
        urllib.request.urlopen(succession.url.replace("127.0.0.1", "127.0.0.2"), timeout=WITHIN).close()


@needs("gunicorn")
@pytest.mark.skipif(not has_ipv6(), reason="without IPv6")
def test_several_sockets_and_workers_go_over(place: Path) -> None:
    with begin(place, f"{GUNICORN} --bind [::1]:PORT --workers 2") as succession:
        succession.runs[0].message("listening")
        save(place, 2)
        old = succession.next()
        old.leave()
        old.gone()
        for host in ("127.0.0.1", "[::1]"):
            assert {get(f"http://{host}:{succession.port}/") for _ in range(5)} == {"2"}


def test_a_server_whose_supervisor_is_gone_serves_on(place: Path) -> None:
    with Succession(place, "module", "http.server", "--bind", "127.0.0.1", "PORT") as succession:
        run = succession.start()
        run.message("listening")
        run.hang_up()
        assert "Directory listing" in get(succession.url)
        assert "Directory listing" in get(succession.url)
