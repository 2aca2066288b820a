from __future__ import annotations

import contextlib
import shlex
from pathlib import PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.core.record import replace
from devstack.core.redis_url import RedisUrl, is_redis, parse
from devstack.kinds import Context
from devstack.kinds.redis import Version, configuration, recognise, url_of_conf, version

CONTEXT = Context("redis.1", 1, "linux", {}, "/srv", "/state")


def url_of(line: str) -> object:
    kind = recognise(shlex.split(line), CONTEXT)
    return kind.probe.options["url"] if kind else None


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("redis-server", "redis://127.0.0.1:6379/0"),
        ("/usr/local/bin/redis-server --port 6380 --save ''", "redis://127.0.0.1:6380/0"),
        ("valkey-server --port=7000", "redis://127.0.0.1:7000/0"),
        ("keydb-server --port 7001 --requirepass 'p@ss'", "redis://:p%40ss@127.0.0.1:7001/0"),
        (r"'C:\Program Files\Memurai\memurai.exe' --port 7002", "redis://127.0.0.1:7002/0"),
        ("redis-server conf/redis.conf --port 7003", "redis://127.0.0.1:7003/0"),
        ("redis-server conf/redis.conf", ""),
        ("redis-server --port 0 --unixsocket /tmp/r.sock", "unix:///tmp/r.sock"),
        ("redis-server --port nonsense", "redis://127.0.0.1:6379/0"),
        ("redis-server --port", "redis://127.0.0.1:6379/0"),
        ("docker run --rm -p 6390:6379 redis:7-alpine", "redis://127.0.0.1:6390/0"),
        ("docker run -d -p127.0.0.1:6391:6379 --name cache valkey/valkey", "redis://127.0.0.1:6391/0"),
        ("podman run --publish=6392:6379/tcp docker.io/library/redis", "redis://127.0.0.1:6392/0"),
        ("docker run --rm redis", "redis://127.0.0.1:6379/0"),
        ("docker run --name redis postgres", None),
        ("docker compose up", None),
        ("redis-cli monitor", None),
        ("python redis-server.py", None),
        ("", None),
    ],
)
def test_a_server_on_the_command_line_is_recognised_with_its_address(line: str, url: str | None) -> None:
    assert url_of(line) == url


def test_a_redis_of_the_procfile_waits_for_nobody_and_is_asked_every_five_seconds() -> None:
    kind = recognise(["redis-server"], CONTEXT)
    assert kind
    assert (kind.role, kind.after, kind.probe.how, kind.probe.every, kind.grace) == ("redis", (), "redis", 5.0, 10.0)


@pytest.mark.parametrize("line", ["redis-server", "/opt/bin/valkey-server --port 18379 --loglevel notice"])
def test_a_line_that_does_not_say_where_its_data_goes_keeps_it_out_of_the_project(line: str) -> None:
    kind = recognise(shlex.split(line), CONTEXT)
    assert kind
    assert kind.arguments(shlex.split(line), CONTEXT) == [*shlex.split(line), "--dir", "/state/redis/redis.1"]
    [note] = kind.notes
    assert "/state/redis/redis.1" in note
    second = replace(CONTEXT, process="redis.2", instance=2, system="win32", state_dir="C:\\state")
    assert kind.arguments(["redis-server"], second)[-1] == r"C:\state\redis\redis.2"


@pytest.mark.parametrize(
    "line",
    [
        "redis-server --dir .",
        "redis-server --dir=/var/lib/redis --port 6380",
        "redis-server --save ''",
        "redis-server conf/redis.conf --port 7003",
        "redis-server -",
        "redis-server --appendonly yes",
        "docker run --rm redis",
    ],
)
def test_a_line_that_says_where_its_data_goes_is_left_alone(line: str) -> None:
    argv = shlex.split(line)
    kind = recognise(argv, CONTEXT)
    assert kind
    assert (kind.arguments(argv, CONTEXT), kind.notes) == (argv, ())


def test_a_conf_file_tells_the_address() -> None:
    assert url_of_conf('# port 1\nport 6400\nbind 127.0.0.1\nrequirepass "a b"\n') == "redis://:a%20b@127.0.0.1:6400/0"
    assert url_of_conf("") == "redis://127.0.0.1:6379/0"
    assert url_of_conf("port 0\nunixsocket /run/r.sock\n") == "unix:///run/r.sock"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d", Version("redis", (7, 0, 15))),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", Version("valkey", (9, 1, 2))),
        ("KeyDB server v=6.3.4 sha=0:0", Version("keydb", (6, 3, 4))),
        ("Memurai Developer 4.1.2 for Windows", Version("memurai", (4, 1, 2))),
        ("Illegal instruction", None),
        ("", None),
    ],
)
def test_versions_are_read_off_what_servers_print(text: str, expected: Version | None) -> None:
    assert version(text) == expected


def test_each_kind_and_minor_version_has_a_directory_of_its_own() -> None:
    assert Version("redis", (7, 0, 15)).directory == "redis-7.0"
    assert Version("valkey", (9, 1, 2)).directory == "valkey-9.1"


def lines(url: str, *, persist: bool = False, directory: str = "/state/redis") -> list[str]:
    return configuration(parse(url), PureWindowsPath(directory), persist=persist).decode().splitlines()


def test_ours_listens_on_loopback_alone_and_saves_only_when_asked() -> None:
    assert {"port 6380", "bind 127.0.0.1", 'save ""', "databases 16"} <= set(lines("redis://localhost:6380/3"))
    assert {"bind ::1"} <= set(lines("redis://[::1]:6380"))
    assert {"save 300 1", "dbfilename dump.rdb"} <= set(lines("redis://", persist=True))
    assert "dbfilename unsaved.rdb" in lines("redis://")
    assert {"port 0", "unixsocket /run/my.sock"} <= set(lines("unix:///run/my.sock"))
    assert "databases 21" in lines("redis://127.0.0.1/20")


def test_a_password_is_required_from_everybody_and_a_user_gets_it_as_a_hash() -> None:
    conf = lines("redis://bob:pa%22ss%0Aport%201@127.0.0.1/0", directory="C:\\state dir")
    assert 'requirepass "pa\\"ss\\x0aport 1"' in conf
    assert 'dir "C:\\\\state dir"' in conf
    assert any(line.startswith("user bob on #") and line.endswith(" ~* &* +@all") for line in conf)
    assert not [line for line in conf if line.startswith("port 1")]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_urls(text: str) -> None:
    for url in (text, f"redis://{text}", f"unix://{text}", f"redis://h:1/{text}"):
        if is_redis(url):
            with contextlib.suppress(ValueError):
                assert 0 <= parse(url).db < 10_000


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(max_size=10), st.integers(0, 9999))
def test_a_url_that_is_written_is_read_back(password: str, username: str, db: int) -> None:
    if any(0xD800 <= ord(each) < 0xE000 for each in password + username):
        return
    url = parse(RedisUrl(password=password, username=username, db=db).at_port(6400))
    assert (url.password, url.username, url.db, url.port) == (password, username, db, 6400)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("redis://localhost", True),
        ("redis://", True),
        ("redis://127.0.1.1", True),
        ("redis://[::1]", True),
        ("unix:///run/r", True),
        ("redis://0.0.0.0", True),
        ("redis://redis:6379", False),
        ("redis://10.0.0.1", False),
        ("redis://localhost.example.com", False),
    ],
)
def test_only_loopback_and_sockets_are_this_machine(url: str, local: bool) -> None:
    assert parse(url).local is local
