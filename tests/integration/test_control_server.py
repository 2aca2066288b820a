"""The control server on its own: who is let in, and what becomes of those who ask badly. Each over both kinds of socket where it can be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devstack import host
from devstack.control import client, server
from devstack.control.messages import ADDRESS, LONGEST, SOCKET, encode
from devstack.control.server import Connection, Server
from devstack.errors import DevstackError
from tests.support.control import heard, line_to

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
KINDS = ["unix", "tcp"]
DEADLINE = 20.0


class Answers:
    """What a stack would answer."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.dropped = threading.Event()
        self.asked: list[dict[str, object]] = []

    async def __call__(self, request: dict[str, object], to: Connection) -> int:
        self.asked.append(request)
        match request["do"]:
            case "fail":
                raise DevstackError("no", why="redis://:hunter22@host is down", fix="try again", code=5)
            case "bug":
                raise ZeroDivisionError("redis://:hunter22@host")
            case "flood":
                try:
                    while True:
                        to.send({"text": "x" * 1000})
                        await asyncio.sleep(0)
                finally:
                    self.dropped.set()
            case "wait":
                try:
                    to.send({"waits": True})
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
        to.send({"echo": request})
        return 0


def played(kind: str, directory: Path, script: Callable[[Server, Answers], Awaitable[object]]) -> None:
    async def play() -> None:
        answers = Answers()
        it = Server(directory, answers, host.here().ours, tcp=kind == "tcp")
        await it.open()
        try:
            await asyncio.wait_for(script(it, answers), DEADLINE)
        finally:
            await it.close()
            while it.connections:  # the last ones get their second to read why
                next(iter(it.connections))._transport.abort()  # type: ignore[union-attr]
                await asyncio.sleep(0)

    asyncio.run(play())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "r").mkdir(mode=0o700)
    return tmp_path / "r"


def refusal(directory: Path, data: bytes) -> str:
    """What is said to somebody who sends that."""
    line, _ = line_to(str(directory))
    with line:
        with contextlib.suppress(ConnectionError):
            line.sendall(data)
        return str(json.loads(heard(line))["error"]["what"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_is_answered_and_the_connection_closed(kind: str, directory: Path) -> None:
    async def script(it: Server, answers: Answers) -> None:
        found = await asyncio.to_thread(lambda: [*client.ask(str(directory), "ps", names=["ä"])])
        assert found == [{"echo": {"do": "ps", "names": ["ä"]}}, {"end": 0}]

    played(kind, directory, script)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "this is not a request"),
        (b"\n", "this is not a request"),
        (b"[]\n", "this is not a request"),
        (b'{"do": 1}\n', "this is not a request"),
        (b"\xff\xfe\x00\n", "this is not a request"),
        (b"[" * 50_000 + b"\n", "this is not a request"),
        (b"x" * (LONGEST + 1000), "the request is too long"),
        (b"x" * 5_000_000, "the request is too long"),
    ],
    ids=["http", "empty", "list", "number", "bytes", "deep", "long", "endless"],
)
def test_garbage_is_refused_and_disturbs_nobody(kind: str, data: bytes, said: str, directory: Path) -> None:
    async def script(it: Server, answers: Answers) -> None:
        assert await asyncio.to_thread(refusal, directory, data) == said
        await asyncio.to_thread(client.one, str(directory), "ps")
        assert [each["do"] for each in answers.asked] == ["ps"]

    played(kind, directory, script)


@pytest.mark.parametrize(
    "token", [None, "", "0" * 64, 7, "\ud800", ["x"]], ids=["none", "empty", "wrong", "number", "surrogate", "list"]
)
def test_a_wrong_token_is_refused(token: object, directory: Path) -> None:
    async def script(it: Server, answers: Answers) -> None:
        line = json.dumps({"do": "ps", "token": token}).encode() + b"\n"
        assert await asyncio.to_thread(refusal, directory, line) == "the token is wrong"
        assert answers.asked == []

    played("tcp", directory, script)


def test_who_says_nothing_is_not_waited_for(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ASKED_WITHIN", 0.1)

    async def script(it: Server, answers: Answers) -> None:
        assert await asyncio.to_thread(refusal, directory, b'{"do": "ps"') == "nothing was asked"

    played("unix", directory, script)


@pytest.mark.parametrize("kind", KINDS)
def test_its_files_are_the_owner_s_alone_and_go_with_it(kind: str, directory: Path) -> None:
    async def script(it: Server, answers: Answers) -> None:
        (only,) = directory.iterdir()
        assert only.name == (ADDRESS if kind == "tcp" else SOCKET)
        assert stat.S_IMODE(only.stat().st_mode) == 0o600
        if kind == "tcp":
            assert it._server
            assert it._server.sockets[0].getsockname()[0] == "127.0.0.1"

    played(kind, directory, script)
    assert not [*directory.iterdir()]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
def test_a_foreign_user_is_refused_even_where_the_file_would_let_him_in(directory: Path) -> None:
    nobody = 65534
    for each in [directory, *directory.parents]:
        if not (mode := each.stat().st_mode) & 0o001:
            each.chmod(mode | 0o055)

    def ask_as_nobody() -> bytes:
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                os.setuid(nobody)
                line, _ = line_to(str(directory))
                line.sendall(encode({"do": "down"}))
                os.write(writing, heard(line))
            except BaseException as error:
                os.write(writing, repr(error).encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(pid, 0)
        with os.fdopen(reading, "rb") as said:
            return said.read()

    async def script(it: Server, answers: Answers) -> None:
        (directory / SOCKET).chmod(0o666)
        said = await asyncio.to_thread(ask_as_nobody)
        assert b"this stack is somebody else's" in said
        assert answers.asked == []

    played("unix", directory, script)


def test_a_socket_of_a_dead_one_is_replaced_and_that_of_a_living_one_is_not(directory: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(directory / SOCKET))
    dead.listen()
    dead.close()
    (directory / ADDRESS).write_text("1 token\n")

    async def script(it: Server, answers: Answers) -> None:
        assert not (directory / ADDRESS).exists()
        await asyncio.to_thread(client.one, str(directory), "ps")
        with pytest.raises(DevstackError, match="another devstack answers"):
            await Server(directory, answers, host.here().ours).open()
        await asyncio.to_thread(client.one, str(directory), "ps")

    played("unix", directory, script)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_stops_reading_is_dropped_with_a_word_and_holds_up_nobody(kind: str, directory: Path) -> None:
    def slow(answers: Answers) -> bytes:
        line, extra = line_to(str(directory))
        with line:
            line.sendall(encode({"do": "flood", **extra}))
            for _ in range(20):
                client.one(str(directory), "ps")  # the others are served
            assert answers.dropped.wait(DEADLINE)
            return heard(line)

    async def script(it: Server, answers: Answers) -> None:
        said = await asyncio.to_thread(slow, answers)
        last = json.loads(said.splitlines()[-1])
        assert last["error"]["what"] == "this client is too slow and was dropped"

    played(kind, directory, script)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_ends_when_its_client_goes(kind: str, directory: Path) -> None:
    async def script(it: Server, answers: Answers) -> None:
        line = await asyncio.to_thread(client.begin, str(directory), "wait")
        line.close()
        await answers.cancelled.wait()

    played(kind, directory, script)


def test_who_waits_when_the_stack_ends_is_told(directory: Path) -> None:
    async def script(it: Server, answers: Answers) -> None:
        line = await asyncio.to_thread(client.begin, str(directory), "wait")
        with line:
            await it.close()
            said = await asyncio.to_thread(heard, line)
        assert json.loads(said)["error"]["what"] == "the stack has ended"

    played("unix", directory, script)


def test_errors_and_bugs_are_told_without_passwords(directory: Path) -> None:
    def asked(do: str) -> client.Refused:
        with pytest.raises(client.Refused) as refused:
            client.one(str(directory), do)
        return refused.value

    async def script(it: Server, answers: Answers) -> None:
        error, bug = await asyncio.to_thread(asked, "fail"), await asyncio.to_thread(asked, "bug")
        assert (error.what, error.fix, error.code) == ("no", "try again", 5)
        assert error.why == "redis://:***@host is down"
        assert bug.why == "ZeroDivisionError: redis://:***@host"
        await asyncio.to_thread(client.one, str(directory), "ps")

    played("unix", directory, script)


def test_too_many_clients_are_refused_and_room_is_made_when_they_go(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CLIENTS", 3)

    async def script(it: Server, answers: Answers) -> None:
        lines = [await asyncio.to_thread(client.begin, str(directory), "wait") for _ in range(3)]
        assert await asyncio.to_thread(refusal, directory, b"") == "too many clients"
        lines.pop().close()
        while len(it.connections) > 2:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(client.one, str(directory), "ps")
        for line in lines:
            line.close()

    played("unix", directory, script)


def test_somebody_else_at_the_port_is_not_taken_for_the_stack(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        (directory / ADDRESS).write_text(f"{stranger.getsockname()[1]} token\n")

        def answer() -> None:
            line, _ = stranger.accept()
            with line:
                line.recv(1000)
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async def both() -> None:
            asked = asyncio.to_thread(client.one, str(directory), "ps")
            results = await asyncio.gather(asyncio.to_thread(answer), asked, return_exceptions=True)
            assert isinstance(results[1], client.NotRunning)

        asyncio.run(both())
