"""A web process with more ports than the one it serves at: what cannot be had twice is replaced, and figures are not taken for a server."""

from __future__ import annotations

import contextlib
import importlib.util
import shlex
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.reload_load import Visitors
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there it is always replaced")
PYTHON = shlex.quote(sys.executable)
WITHIN = 20.0

APP = """\
import asyncio, threading
from pathlib import Path
from http.server import BaseHTTPRequestHandler, HTTPServer

VERSION = b"1"
PORT = %d


class Figures(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"figures " + VERSION)

    def log_message(self, *words):
        pass


def in_a_thread():
    server = HTTPServer(("127.0.0.1", PORT), Figures)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(VERSION)))])
    return [VERSION]


async def figures(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\nfigures " + VERSION)
    writer.close()


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await asyncio.start_server(figures, "127.0.0.1", PORT)
        while Path("hold").exists():
            await asyncio.sleep(0.05)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%%d" %% len(VERSION))]})
    await send({"type": "http.response.body", "body": VERSION})


"""
SWALLOWED = """\
try:
    in_a_thread()
except OSError:
    pass
"""


class Web:
    """`command` under `devstack up`, with `more` at the end of its module. PORT in `command` is where it serves."""

    def __init__(self, place: Path, command: str, more: str = "") -> None:
        place.mkdir()
        self.place, self._more = place, more
        self.port, self.figures = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.save(1)
        (place / "Procfile").write_text(f"web: {command.replace('PORT', str(self.port))}\n")
        with contextlib.ExitStack() as stack:
            self.up = stack.enter_context(Up(place, "up", "--no-color"))
            self.up.until("all ready in")
            self._end = stack.pop_all()

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *error: object) -> None:
        self._end.close()

    def save(self, version: int) -> None:
        text = (APP % self.figures + self._more).replace('b"1"', f'b"{version}"')
        (self.place / "app.py").write_text(text)

    def until(self, answer: str, port: int = 0) -> None:
        deadline = time.monotonic() + WITHIN
        while (said := get(port or self.port)) != answer:
            assert time.monotonic() < deadline, f"{said!r} instead of {answer!r}:\n{self.up.text}"
            time.sleep(0.02)


def get(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=WITHIN) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError) as error:
        return str(error)


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"without {', '.join(missing)}")


@needs("gunicorn")
@pytest.mark.parametrize("more", ["in_a_thread()\n", SWALLOWED], ids=["it ends", "it goes on without"])
def test_a_port_that_a_fork_has_bound_makes_the_old_code_end_first(tmp_path: Path, more: str) -> None:
    with Web(tmp_path / "web", f"{PYTHON} -m gunicorn app --bind 127.0.0.1:PORT", more) as web:
        for version in (2, 3):
            web.save(version)
            web.until(f"{version}")
            web.until(f"figures {version}", web.figures)
        said = [line for line in web.up.text.splitlines() if "which the old code has" in line]
        assert len(said) == 1
        assert f"the new code needs port {web.figures}" in said[0]
        assert "error: " not in web.up.text
        # What it says for the port that it could not have is a person's business no more.
        web.up.until(r"web\.1 restarts: app\.py changed")


@needs("gunicorn")
def test_a_port_that_a_stranger_has_is_no_reason_to_end_the_old_code(tmp_path: Path) -> None:
    import socket

    with (
        socket.create_server(("127.0.0.1", 0)) as stranger,
        Web(tmp_path / "web", f"{PYTHON} -m gunicorn app -b :PORT") as web,
    ):
        web._more = f"PORT = {stranger.getsockname()[1]}\nin_a_thread()\n"
        web.save(2)
        web.up.until(r"could not reload app\.py; the old code keeps running")
        assert get(web.port) == "1"


@needs("uvicorn")
@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=needs("uvloop"))])
def test_figures_that_are_served_before_the_pages_take_over_nothing(tmp_path: Path, loop: str) -> None:
    with (
        Web(tmp_path / "web", f"{PYTHON} -m uvicorn app:asgi --port PORT --loop {loop}") as web,
        Visitors(web.url, 50) as visitors,
    ):
        hold = web.place / "hold"
        for version in (2, 3):
            hold.touch()
            web.save(version)
            web.until(f"figures {version}", web.figures)
            # The old code answers for as long as that takes.
            since = time.monotonic()
            visitors.wait_for_visits_since(since, 10)
            assert {visit.answer for visit in visitors.visits if visit.began > since} == {f"{version - 1}"}
            hold.unlink()
            visitors.wait_for_version(version)
            web.up.until(r"web\.1 reloaded in", version - 1)
        visitors.halt()
        web.until("figures 3", web.figures)
    assert visitors.failed() == []


@needs("debugpy", "uvicorn")
def test_the_port_of_a_debugger_makes_the_old_code_end_first(tmp_path: Path) -> None:
    more = "import debugpy\ndebugpy.listen(('127.0.0.1', PORT))\n"
    with Web(tmp_path / "web", f"{PYTHON} -m uvicorn app:asgi --lifespan off --port PORT", more) as web:
        for version in (2, 3):
            web.save(version)
            web.until(f"{version}")
        assert web.up.text.count(f"the new code needs port {web.figures}, which the old code has") == 1
        assert "error: " not in web.up.text
