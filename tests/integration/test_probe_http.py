from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from devstack.core.health import Answer, Health
from devstack.probes import http
from tests.support.listeners import listener
from tests.support.ports import free_port
from tests.support.subjects import subject


@contextlib.contextmanager
def web(status: int = 200, body: bytes = b"hello") -> Iterator[tuple[int, list[str]]]:
    """A web server and the requests it has seen."""
    seen: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.requestline} {self.headers['Host']} {self.headers['User-Agent']}")
            self.send_response(status)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, seen
        finally:
            server.shutdown()
            thread.join()


def ask(**options: object) -> Answer:
    return asyncio.run(http.ask(subject(), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_any_status_is_serving_unless_one_is_wanted(status: int) -> None:
    with web(status) as (port, seen):
        answer = ask(port=port)
        assert answer.health is Health.READY
        assert re.fullmatch(rf"answered {status} in \d+ ms", answer.why)
        assert seen == [f"HEAD / HTTP/1.1 127.0.0.1:{port} devstack-probe"]


def test_a_wanted_status_is_asked_for_with_get_and_compared() -> None:
    with web(503, b"x" * 3_000_000) as (port, seen):
        assert ask(port=port, path="/health", status=200) == Answer(
            Health.NOT_YET, "answered 503 at /health, and 200 is wanted"
        )
        assert ask(port=port, path="/health", status=503).health is Health.READY
        assert seen[0].startswith("GET /health HTTP/1.1")


def test_a_path_with_odd_characters_cannot_add_a_header() -> None:
    with web() as (port, seen):
        assert ask(port=port, path="/ä b\r\nX: y").health is Health.READY
        assert seen[0].startswith("HEAD /%C3%A4%20b%0D%0AX:%20y HTTP/1.1")


def test_a_closed_port_is_refused_in_one_sentence() -> None:
    port = free_port()
    assert ask(port=port) == Answer(Health.NOT_YET, f"connection refused on 127.0.0.1:{port}")


def test_the_process_table_is_not_walked_in_the_loop() -> None:
    it, threads = subject(), set[threading.Thread]()

    def pids() -> set[int]:
        threads.add(threading.current_thread())
        return set()

    it.pids = pids
    asyncio.run(http.ask(it))
    assert threads
    assert threading.main_thread() not in threads


def test_what_is_no_address_is_a_sentence() -> None:
    assert ask(host="a..b", port=80) == Answer(Health.NOT_YET, "no connection to a..b:80: that is no address")


def test_what_is_no_web_server_is_quoted() -> None:
    with listener(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        assert ask(port=port).why == f"127.0.0.1:{port} does not speak HTTP: SSH-2.0-OpenSSH_9.2"
    with listener(answer=lambda said: None) as port:
        assert ask(port=port).health is Health.NOT_YET
    with listener(b"\0" * 200_000) as port:
        assert ask(port=port).health is Health.NOT_YET


def test_a_server_that_accepts_and_stays_silent_is_named_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_WITHIN", 0.2)
    with listener() as port:
        assert ask(port=port).why == f"accepts connections on 127.0.0.1:{port} and has not answered within 0.2 s"
