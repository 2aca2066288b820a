"""The embedded server as a program: who waits, who listens, what is malformed, what is too much, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.redisd import settings
from devstack.redisd.__main__ import listen
from devstack.redisd.settings import BadSetting, Settings
from tests.support.ports import free_port
from tests.support.redis_server import Server, eventually
from tests.support.redisd import Said, Wire, embedded, packed

OK = Said("+", "OK")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with embedded("--save", "") as running:
        yield running


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with Wire(server.port) as connection:
        connection.ask("FLUSHALL")
        yield connection


def waits(wire: Wire, count: int = 1) -> None:
    """Until so many clients are blocked."""
    eventually(lambda: f"blocked_clients:{count}\r".encode() in wire.ask("INFO", "clients"), "blocked client")  # type: ignore[operator]


def test_who_waits_first_is_served_first_and_one_element_serves_one(server: Server, wire: Wire) -> None:
    with Wire(server.port) as first, Wire(server.port) as second:
        first.send("BRPOP", "queue", 0)
        waits(wire)
        second.send("BLPOP", "other", "queue", 0)
        waits(wire, 2)
        assert wire.ask("LPUSH", "queue", "a") == 1
        assert first.read() == [b"queue", b"a"]
        waits(wire)
        wire.ask("LPUSH", "queue", "b")
        assert second.read() == [b"queue", b"b"]
    assert wire.ask("EXISTS", "queue") == 0


def test_a_client_that_went_away_while_it_waited_takes_nothing(server: Server, wire: Wire) -> None:
    waiting = Wire(server.port)
    waiting.send("BRPOP", "queue", 0)
    waits(wire)
    # As when its process is killed: the connection is reset.
    waiting.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    waiting.close()
    waits(wire, 0)
    assert wire.ask("RPUSH", "queue", "a", "b", "c") == 3
    assert wire.ask("LLEN", "queue") == 3


def test_a_client_that_is_killed_while_it_waits_takes_nothing(server: Server, wire: Wire) -> None:
    with Wire(server.port) as waiting:
        number = waiting.ask("CLIENT", "ID")
        waiting.send("BRPOP", "queue", 0)
        waits(wire)
        wire.socket.sendall(
            packed("CLIENT", "KILL", "ID", f"{number}") + packed("LPUSH", "queue", "a") + packed("LLEN", "queue")
        )
        assert [wire.read() for _ in range(3)] == [1, 1, 1]


def test_small_replies_do_not_wait_for_each_other_on_their_way() -> None:
    """Nagle's algorithm is off on the sockets that come from ours."""
    accepted: list[bool] = []

    class Seen(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            wire = transport.get_extra_info("socket")
            accepted.append(bool(wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            transport.close()

    async def connect() -> None:
        made = listen(Settings(port=0))
        assert isinstance(made, socket.socket)
        async with await asyncio.get_running_loop().create_server(Seen, sock=made):
            reader, writer = await asyncio.open_connection("127.0.0.1", made.getsockname()[1])
            assert await reader.read() == b""
            writer.close()

    asyncio.run(connect())
    assert accepted == [True]


def test_what_a_move_brings_serves_who_waits_there(server: Server, wire: Wire) -> None:
    with Wire(server.port) as mover, Wire(server.port) as last:
        mover.send("BLMOVE", "one", "two", "LEFT", "RIGHT", 0)
        last.send("BRPOP", "two", 0)
        waits(wire, 2)
        assert wire.ask("RPUSH", "one", "x") == 1
        assert mover.read() == b"x"
        assert last.read() == [b"two", b"x"]


def test_a_waiting_client_is_unblocked_by_another_one_and_then_goes_on(server: Server, wire: Wire) -> None:
    with Wire(server.port) as waiting:
        number = waiting.ask("CLIENT", "ID")
        for how, reply in (
            ("TIMEOUT", Said("*", "-1")),
            ("ERROR", Said("-", "UNBLOCKED client unblocked via CLIENT UNBLOCK")),
        ):
            waiting.socket.sendall(packed("BRPOP", "queue", 0) + packed("PING"))
            waits(wire)
            assert wire.ask("CLIENT", "UNBLOCK", f"{number}", how) == 1
            assert waiting.read() == reply
            assert waiting.read() == Said("+", "PONG")
        assert wire.ask("CLIENT", "UNBLOCK", f"{number}") == 0


def test_the_pushes_of_a_transaction_serve_those_who_wait_after_it(server: Server, wire: Wire) -> None:
    with Wire(server.port) as waiting:
        waiting.send("BRPOP", "queue", 0)
        waits(wire)
        for words in (("MULTI",), ("LPUSH", "queue", "a"), ("LPUSH", "queue", "b"), ("RPOP", "queue")):
            wire.ask(*words)
        assert wire.ask("EXEC") == [1, 2, b"a"]
        assert waiting.read() == [b"queue", b"b"]


def test_a_watched_key_that_comes_to_its_end_spoils_the_transaction(server: Server, wire: Wire) -> None:
    wire.ask("SET", "key", "1", "PX", 30)
    wire.ask("WATCH", "key")
    wire.ask("MULTI")
    wire.ask("SET", "key", "2")
    with Wire(server.port) as other:
        eventually(lambda: other.ask("PTTL", "key") == -2, "end of the key")
    assert wire.ask("EXEC") == Said("*", "-1")


@pytest.mark.parametrize("version", [2, 3])
def test_messages_come_by_channel_and_by_pattern(server: Server, wire: Wire, version: int) -> None:
    def pushed(*parts: object) -> object:
        return (">", [*parts]) if version == 3 else [*parts]

    with Wire(server.port) as listener:
        listener.ask("HELLO", version)
        listener.send("SUBSCRIBE", "news", "more")
        assert listener.read() == pushed(b"subscribe", b"news", 1)
        assert listener.read() == pushed(b"subscribe", b"more", 2)
        assert listener.ask("PSUBSCRIBE", "ne*") == pushed(b"psubscribe", b"ne*", 3)
        assert wire.ask("PUBLISH", "news", "hello") == 2
        assert listener.read() == pushed(b"message", b"news", b"hello")
        assert listener.read() == pushed(b"pmessage", b"ne*", b"news", b"hello")
        assert wire.ask("PUBLISH", "nobody", "x") == 0
        assert wire.ask("PUBSUB", "NUMPAT") == 1
        reply = listener.ask("GET", "key")
        if version == 3:
            assert reply is None
        else:
            assert isinstance(reply, Said)
            assert reply.text.startswith("ERR Can't execute 'get'")
        listener.send("UNSUBSCRIBE")
        assert [listener.read(), listener.read()] == [
            pushed(b"unsubscribe", b"news", 2),
            pushed(b"unsubscribe", b"more", 1),
        ]
    eventually(lambda: wire.ask("PUBSUB", "NUMPAT") == 0, "end of the subscription")


def test_a_listener_that_stops_reading_is_dropped_and_the_others_are_not(server: Server, wire: Wire) -> None:
    deaf, listener = Wire(server.port), Wire(server.port)
    with deaf, listener:
        deaf.ask("CLIENT", "SETNAME", "deaf")
        for each in (deaf, listener):
            each.ask("SUBSCRIBE", "flood")
        message, sent = b"x" * 2**20, 0
        while wire.ask("PUBLISH", "flood", message) == 2:
            sent += 1
            assert listener.read() == [b"message", b"flood", message]
            assert sent < 200
        assert listener.read() == [b"message", b"flood", message]
        assert wire.ask("PING") == Said("+", "PONG")
    assert "deaf is subscribed and has left 32 MB unread" in server.log.read_text()


def test_a_client_that_does_not_read_its_replies_holds_up_nobody_and_gets_all_of_them(
    server: Server, wire: Wire
) -> None:
    wire.ask("SET", "big", b"y" * 2**20)
    with Wire(server.port) as slow:
        slow.socket.sendall(packed("GET", "big") * 40)
        assert wire.ask("PING") == Said("+", "PONG")
        assert [slow.read() == b"y" * 2**20 for _ in range(40)] == [True] * 40


MALFORMED = {
    b"*1\r\n$999999999999\r\n": "invalid bulk length",
    b"*1\r\n$-5\r\n": "invalid bulk length",
    b"*1\r\n$x\r\n": "invalid bulk length",
    b"*99999999999999999999\r\n": "invalid multibulk length",
    b"*x\r\n": "invalid multibulk length",
    b"*1\r\n:5\r\n": "expected '$', got ':'",
    b"x" * 70_000: "too big inline request",
    b"*" + b"1" * 70_000: "too big mbulk count string",
    b"*1\r\n$" + b"1" * 70_000: "too big bulk count string",
    b'SET key "abc\r\n': "unbalanced quotes in request",
}


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: f"{data[:20]!r}")
def test_what_is_malformed_ends_its_own_connection_with_a_word(server: Server, wire: Wire, data: bytes) -> None:
    with Wire(server.port) as bad:
        bad.socket.sendall(packed("SET", "key", "1") + data)
        assert bad.read() == OK
        assert bad.read() == Said("-", f"ERR Protocol error: {MALFORMED[data]}")
        with pytest.raises((EOFError, ConnectionResetError)):
            bad.read()
    assert wire.ask("GET", "key") == b"1"


@pytest.mark.parametrize(
    "data",
    [b"\0\1\2\xff\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n", b"*0\r\n", b"*-1\r\n", os.urandom(5000)],
)
def test_garbage_disturbs_nobody(server: Server, wire: Wire, data: bytes) -> None:
    with Wire(server.port) as bad:
        bad.socket.sendall(data)
        bad.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                bad.read()
    assert wire.ask("PING") == Said("+", "PONG")


def test_half_a_request_waits_for_its_other_half_and_a_request_may_come_byte_by_byte(
    server: Server, wire: Wire
) -> None:
    with Wire(server.port) as slow:
        slow.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(request := packed("SET", "key", "a\r\nb") + b"get key\r\n")):
            slow.socket.sendall(request[at : at + 1])
            if at % 10 == 0:
                assert wire.ask("PING") == Said("+", "PONG")
        assert slow.read() == OK
        assert slow.read() == b"a\r\nb"


def test_too_many_connections_are_refused_with_a_word() -> None:
    with embedded("--save", "", "--maxclients", "3") as server:
        wires = [Wire(server.port) for _ in range(3)]
        assert [each.ask("PING") for each in wires] == [Said("+", "PONG")] * 3
        with Wire(server.port) as late:
            assert late.read() == Said("-", "ERR max number of clients reached")
        wires[0].close()
        eventually(lambda: server.command("PING") == "+PONG", "place for another client")
        for each in wires[1:]:
            each.close()


def test_when_memory_is_used_up_only_what_makes_room_is_done() -> None:
    with embedded("--save", "", "--maxmemory", "5mb") as server, Wire(server.port) as wire:
        replies = [wire.ask("RPUSH", "queue", b"x" * 2**20) for _ in range(8)]
        assert replies[0] == 1
        assert replies[-1] == Said("-", "OOM command not allowed when used memory > 'maxmemory'.")
        assert wire.ask("SETRANGE", "far", 2**28, "x") == replies[-1]
        assert wire.ask("EVAL", "return redis.pcall('SET', 'a', ('b'):rep(1048576))", 0) == replies[-1]
        assert wire.ask("LPOP", "queue") == b"x" * 2**20
        assert wire.ask("DEL", "queue") == 1
        assert wire.ask("RPUSH", "queue", b"x") == 1


def test_a_password_is_asked_for_and_before_it_little_is_accepted() -> None:
    with embedded("--save", "", password='se"cr\\et x') as server, Wire(server.port) as wire:
        assert wire.ask("GET", "key") == Said("-", "NOAUTH Authentication required.")
        assert str(wire.ask("AUTH", "wrong")).count("WRONGPASS") == 1
        assert wire.ask("AUTH", 'se"cr\\et x') == OK
        assert wire.ask("SET", "key", "1") == OK
        with Wire(server.port) as other:
            assert str(other.ask("HELLO", 3)).count("NOAUTH") == 1
            assert other.ask("HELLO", 3, "AUTH", "default", 'se"cr\\et x', "SETNAME", "me")
            assert other.ask("GET", "key") == b"1"
        for much in (b"*1\r\n$100000\r\n", b"*100\r\n"):
            with Wire(server.port) as stranger:
                stranger.socket.sendall(much)
                assert "unauthenticated" in str(stranger.read())


@pytest.mark.parametrize(
    ("limit", "script", "says"),
    [
        ("60000", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000000) .. i end", "memory"),
        ("60000", "return ('x'):rep(1e9)", "memory"),
        ("100", "while true do pcall(function() while true do end end) end", "longer than 100 ms"),
    ],
)
def test_a_script_that_runs_for_ever_or_eats_all_memory_ends_and_the_next_one_works(
    limit: str, script: str, says: str
) -> None:
    with embedded("--save", "", "--lua-time-limit", limit) as server, Wire(server.port) as wire:
        name = wire.ask("SCRIPT", "LOAD", "return KEYS[1]")
        assert isinstance(name, bytes)
        assert says in str(wire.ask("EVAL", script, 0))
        assert wire.ask("EVALSHA", "0" * 40, 1, "x") == Said("-", "NOSCRIPT No matching script. Please use EVAL.")
        assert wire.ask("EVALSHA", name, 1, "x") == b"x"


@pytest.mark.parametrize(
    "script",
    [
        "return os.execute('true')",
        "return io.open('/etc/passwd')",
        "return require('os')",
        "return python.eval('1')",
        "return cjson.null.__class__",
        "return getmetatable(cjson.null).__index",
        "return debug.getregistry()",
        "return loadstring('\\27Lua')()",
        "leak = 1",
        "return package.loaded",
        "local ok, problem = pcall(cjson.decode, '{') return problem.__class__.__name__",
    ],
)
def test_a_script_sees_nothing_of_the_system(wire: Wire, script: str) -> None:
    reply = wire.ask("EVAL", script, 0)
    assert isinstance(reply, Said)
    assert reply.kind == "-"


def test_a_command_that_it_lacks_is_an_error_and_one_word_in_the_stream() -> None:
    with embedded("--save", "") as server, Wire(server.port) as wire:
        wire.ask("CLIENT", "SETNAME", "shop")
        for _ in range(3):
            reply = wire.ask("XADD", "stream", "*", "a", "1")
            assert reply == Said("-", "ERR unknown command 'XADD', with args beginning with: 'stream' '*' 'a' '1' ")
        lines = [line for line in server.log.read_text().splitlines() if "XADD" in line]
        assert lines == [
            "XADD is no command of this embedded server (asked by shop); "
            "if Redis has it, install redis-server, valkey-server or Memurai"
        ]


def fill(wire: Wire) -> None:
    for words in (
        ("SET", "text", b"\0\r\n\xff"),
        ("SET", "ends", "1", "EX", 5000),
        ("RPUSH", "list", *[f"{each}" for each in range(2500)]),
        ("HSET", "hash", "a", "1", "", "2"),
        ("SADD", "set", "x", "y"),
        ("ZADD", "ranking", "1.5", "a", "-inf", "b", "0.30000000000000004", "c"),
        ("SELECT", 7),
        ("SET", "there", "7"),
        ("SELECT", 0),
    ):
        wire.ask(*words)


def data(wire: Wire) -> list[object]:
    asked = (
        ("GET", "text"),
        ("LRANGE", "list", 0, -1),
        ("HGETALL", "hash"),
        ("SCARD", "set"),
        ("ZRANGE", "ranking", 0, -1, "WITHSCORES"),
        ("DBSIZE",),
    )
    return [wire.ask(*words) for words in asked]


def test_the_data_survives_a_polite_end(tmp_path: Path) -> None:
    with embedded(directory=tmp_path, stop=True) as server, Wire(server.port) as wire:
        fill(wire)
        wire.ask("SET", "gone", "1", "PX", 1)
        before = data(wire)
    assert server.process.returncode == 0
    assert stat.S_IMODE((tmp_path / "dump.resp").stat().st_mode) == 0o600
    with embedded(directory=tmp_path) as server, Wire(server.port) as wire:
        assert wire.ask("EXISTS", "gone") == 0
        assert data(wire) == before
        assert 4900 < int(f"{wire.ask('TTL', 'ends')}") <= 5000
        wire.ask("SELECT", 7)
        assert wire.ask("GET", "there") == b"7"


def test_what_was_saved_survives_a_kill_and_any_redis_can_read_it(tmp_path: Path) -> None:
    with embedded(directory=tmp_path) as server, Wire(server.port) as wire:
        fill(wire)
        assert wire.ask("SAVE") == OK
        before = data(wire)
        wire.ask("SET", "text", "later")
    with embedded(directory=tmp_path) as server, Wire(server.port) as wire:
        assert data(wire) == before
    from tests.support.redis_server import redis_server

    with redis_server() as real, Wire(real.port) as wire:
        text = (tmp_path / "dump.resp").read_bytes()
        wire.socket.sendall(text)
        while wire.read() != b"whole":
            pass
        wire.ask("SELECT", 0)
        assert data(wire) == before


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-5], lambda text: b"\0" * 50, lambda text: text.replace(b"RPUSH", b"RPUSX")]
)
def test_a_damaged_snapshot_is_put_aside_and_the_server_starts_empty(tmp_path: Path, damage: object) -> None:
    with embedded(directory=tmp_path, stop=True) as server, Wire(server.port) as wire:
        fill(wire)
    path = tmp_path / "dump.resp"
    text = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(text)
    with embedded(directory=tmp_path) as server, Wire(server.port) as wire:
        assert wire.ask("DBSIZE") == 0
        assert "is damaged" in server.log.read_text()
    assert (tmp_path / "dump.resp.damaged").read_bytes() == text


def test_the_data_is_saved_while_it_runs_when_something_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "dump.resp"
    with embedded("--save", "1", "1", directory=tmp_path) as server, Wire(server.port) as wire:
        fill(wire)
        eventually(lambda: path.exists() and path.read_bytes().endswith(b"whole\r\n"), "snapshot")
        before = data(wire)
        wire.ask("SET", "later", "1")
        eventually(lambda: b"later" in path.read_bytes(), "newer snapshot")
    with embedded(directory=tmp_path) as server, Wire(server.port) as wire:
        assert wire.ask("DEL", "later") == 1
        assert data(wire) == before


def test_a_snapshot_that_cannot_be_written_is_a_word_and_an_exit_code(tmp_path: Path) -> None:
    with embedded(directory=tmp_path, stop=True) as server, Wire(server.port) as wire:
        fill(wire)
        (tmp_path / "dump.resp.new").mkdir()
        assert "the snapshot cannot be written" in str(wire.ask("SAVE"))
        assert wire.ask("PING") == Said("+", "PONG")
    assert server.process.returncode == 1
    assert "the data cannot be saved: Is a directory" in server.log.read_text()


def test_without_save_nothing_is_written(tmp_path: Path) -> None:
    with embedded("--save", "", directory=tmp_path, stop=True) as server, Wire(server.port) as wire:
        fill(wire)
    assert [each.name for each in tmp_path.iterdir()] == ["server.log"]


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "devstack.redisd", *words], input=stdin, capture_output=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bind", "0.0.0.0"), "not this machine alone"),
        (("--bind", "example.org"), "not this machine alone"),
        (("--port", "x"), "no number"),
        (("--port", "70000"), "no number"),
        (("--maxmemory", "lots"), "no number of bytes"),
        (("6379",), "no option"),
        (("--dir", "/nonexistent/place"), "no directory"),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(words: tuple[str, ...], said: str) -> None:
    ended = run(*words, *(() if "--port" in words else ("--port", "0") if words != ("6379",) else ()))
    assert ended.returncode == 1
    assert said in ended.stdout.decode()
    assert ended.stdout.count(b"\n") == 1
    assert b"Traceback" not in ended.stderr + ended.stdout


def test_a_port_that_is_taken_is_one_sentence_and_the_data_is_untouched(tmp_path: Path) -> None:
    with embedded(directory=tmp_path) as server, Wire(server.port) as wire:
        fill(wire)
        wire.ask("SAVE")
        before = (tmp_path / "dump.resp").read_bytes()
        ended = run("--port", f"{server.port}", "--dir", str(tmp_path))
        assert ended.returncode == 1
        assert f"cannot listen on 127.0.0.1:{server.port}" in ended.stdout.decode()
        assert (tmp_path / "dump.resp").read_bytes() == before


def test_a_socket_file_is_served_for_its_owner_alone_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "devstack.redisd", "--unixsocket", str(path), "--save", ""], stdout=subprocess.DEVNULL
    )
    try:
        eventually(path.exists, "socket file")
        with socket.socket(socket.AF_UNIX) as client:
            eventually(lambda: client.connect_ex(str(path)) == 0, "server at the socket file")
            client.sendall(b"PING\r\n")
            assert client.recv(100) == b"+PONG\r\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def test_shutdown_is_an_end_like_any_other(tmp_path: Path) -> None:
    with embedded(directory=tmp_path, port=free_port()) as server, Wire(server.port) as wire:
        wire.ask("SET", "key", "1")
        wire.send("SHUTDOWN")
        assert server.process.wait(20) == 0
    assert (tmp_path / "dump.resp").exists()


def test_help_starts_nothing_and_its_settings_are_followed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devstack.redisd", "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    names = re.findall(r"--([a-z-]+) [0-9]", done.stdout)
    assert {"port", "maxclients", "databases", "busy-reply-threshold"} <= set(names)
    for name in names:
        with pytest.raises(BadSetting, match=name):
            settings.read([f"--{name}", "nonsense"], b"")
