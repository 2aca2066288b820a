"""Every answer that `classify` knows, from real servers where one can be brought to give it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.core.health import Answer, Health
from devstack.probes import redis as probe
from devstack.probes.redis import Finding, Verdict, classify
from tests.support.listeners import listener, old_redis
from tests.support.ports import free_port
from tests.support.redis_server import Server, debian, eventually, redis_server, valkey
from tests.support.subjects import subject

SECRET = 's ec"re\\t#/@:%'


def found(verdict: Verdict, finding: Finding, why: str, fix: str) -> None:
    assert (verdict.finding, verdict.why, verdict.fix) == (finding, why, fix)


@pytest.mark.parametrize("binary", [debian, valkey])
def test_a_redis_that_answers_is_ok_with_its_version(binary: Callable[[], str | None]) -> None:
    program = binary()
    if program is None:
        pytest.skip("that server is not installed")
    with redis_server(binary=program) as server:
        verdict = classify(server.url)
        assert verdict.finding is Finding.OK
        assert verdict.why.startswith("answered PING in ")
        assert verdict.pid == server.pid
        assert verdict.flavour == ("valkey" if "valkey" in program else "redis")
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        assert f"v={verdict.version} " in shown
        assert server.command("DBSIZE") in (":0", ":1")


def test_only_the_writing_question_leaves_a_key_and_only_for_a_moment() -> None:
    with redis_server() as server:
        classify(server.url, write=False)
        assert server.command("DBSIZE") == ":0"
        classify(server.url)
        eventually(lambda: server.command("DBSIZE") == ":0", "end of the key")


def test_a_closed_port_and_a_missing_socket_are_nothing(tmp_path: Path) -> None:
    port = free_port()
    found(
        classify(f"redis://localhost:{port}"),
        Finding.NOTHING,
        f"connection refused on localhost:{port}",
        "start Redis there",
    )
    assert classify(f"unix://{tmp_path}/s").why == f"no socket at {tmp_path}/s"


def test_both_spellings_of_a_socket_reach_it(tmp_path: Path) -> None:
    path = f"{tmp_path}/r.sock"
    with redis_server(conf=f'unixsocket "{path}"'):
        for url in (f"unix://{path}?db=3", f"redis+socket://{path}?virtual_host=3"):
            assert classify(url).finding is Finding.OK


def test_localhost_is_tried_as_ipv4_first_and_then_as_ipv6() -> None:
    with redis_server() as server:
        assert classify(f"redis://localhost:{server.port}").pid == server.pid
    with redis_server(conf="bind 127.0.0.1 -::1") as server:
        if _open(server.port, "::1", socket.AF_INET6):
            assert server.command("CONFIG", "SET", "bind", "::1") == "+OK"
            assert classify(f"redis://localhost:{server.port}").pid == server.pid


def test_a_password_that_is_missing_or_wrong_is_told_and_never_shown() -> None:
    with redis_server(password=SECRET) as server:
        bare = f"127.0.0.1:{server.port}"
        assert classify(server.url).finding is Finding.OK
        verdict = classify(f"redis://{bare}/2")
        why = f"the Redis on {bare} wants a password and the URL has none"
        found(verdict, Finding.NOAUTH, why, f"write it into the URL: redis://:PASSWORD@{bare}/2")
        verdict = classify(f"redis://bob:hunter2@{bare}/0")
        assert verdict.finding is Finding.WRONGPASS
        assert verdict.why == f'the Redis on {bare} refused the password in the URL for the user "bob"'
        assert "hunter2" not in repr(verdict)


def test_a_needless_password_is_a_warning() -> None:
    with redis_server() as server:
        verdict = classify(server.url.replace("redis://", "redis://:needless@"))
        assert verdict.usable
        assert "takes" in verdict.warning or "take it out" in verdict.warning


def test_a_server_that_is_loading_is_loading(tmp_path: Path) -> None:
    slow = "key-load-delay 20000\nloading-process-events-interval-bytes 1024\nenable-debug-command yes"
    with redis_server(directory=tmp_path, conf="enable-debug-command yes") as server:
        assert server.command("DEBUG", "POPULATE", "3000", "key", "100") == "+OK"
        assert server.command("SAVE") == "+OK"
    with redis_server(directory=tmp_path, conf=slow) as server:
        verdict = classify(server.url)
        found(verdict, Finding.LOADING, f"the Redis on 127.0.0.1:{server.port} is still loading its data", "wait")
        answer = asyncio.run(probe.ask(subject(argv=()), server.url))
        assert answer.health is Health.NOT_YET


def test_a_server_that_cannot_save_is_misconf(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with redis_server(conf=f'dir "{data}"\nsave 3600 1\nstop-writes-on-bgsave-error yes') as server:
        shutil.rmtree(data)
        server.command("SET", "a", "1")
        server.command("BGSAVE")
        eventually(lambda: "bgsave_status:err" in server.command("INFO", "persistence"), "failed save")
        verdict = classify(server.url)
        assert verdict.finding is Finding.MISCONF
        assert verdict.fix.endswith(f"redis-cli -p {server.port} config set stop-writes-on-bgsave-error no")


def test_a_replica_is_readonly_and_its_master_is_named() -> None:
    with redis_server() as master, redis_server(conf=f"replicaof 127.0.0.1 {master.port}") as server:
        verdict = classify(server.url)
        assert verdict.finding is Finding.READONLY
        assert verdict.why == f"the Redis on 127.0.0.1:{server.port} is a read-only replica of 127.0.0.1:{master.port}"
        assert verdict.fix.endswith(f"redis-cli -p {server.port} replicaof no one")


def test_a_full_server_is_oom() -> None:
    with redis_server(conf="maxmemory 1kb") as server:
        assert classify(server.url).finding is Finding.OOM
        assert classify(server.url, write=False).finding is Finding.OK


def test_an_eviction_policy_is_a_warning() -> None:
    with redis_server(conf="maxmemory 100mb\nmaxmemory-policy allkeys-lru") as server:
        verdict = classify(server.url)
        assert verdict.usable
        assert "allkeys-lru" in verdict.warning


def test_a_user_who_may_not_write_our_key_can_go_on_with_a_warning() -> None:
    with redis_server(conf="user app on >pw ~app:* &* +@all") as server:
        verdict = classify(f"redis://app:pw@127.0.0.1:{server.port}/0")
        assert verdict.finding is Finding.NOPERM
        assert verdict.usable
        assert "NOPERM" in verdict.warning


def test_an_endless_script_is_busy() -> None:
    with redis_server(conf="lua-time-limit 50") as server, socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.sendall(b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
        eventually(lambda: server.command("PING").startswith("-BUSY"), "busy script")
        verdict = classify(server.url)
        assert (verdict.finding, verdict.fix) == (Finding.BUSY, f"redis-cli -p {server.port} script kill")
        assert asyncio.run(probe.ask(subject(argv=()), server.url)).health is Health.BUSY


def test_a_server_without_a_free_connection_says_so() -> None:
    with redis_server(conf="maxclients 1") as server, socket.create_connection(("127.0.0.1", server.port)) as wire:
        wire.sendall(b"PING\r\n")
        assert wire.recv(100) == b"+PONG\r\n"
        assert classify(server.url).finding is Finding.MAXCLIENTS


def test_a_database_that_does_not_exist_is_told() -> None:
    with redis_server() as server:
        verdict = classify(f"redis://127.0.0.1:{server.port}/16")
        assert (verdict.finding, verdict.why) == (
            Finding.BAD_DB,
            f"the Redis on 127.0.0.1:{server.port} has no database 16",
        )


def test_a_cluster_is_unfit() -> None:
    # The bus would be at port + 10000, which need not exist.
    with redis_server(conf=f"cluster-enabled yes\ncluster-port {free_port()}") as server:
        verdict = classify(server.url)
        assert verdict.finding is Finding.UNFIT
        assert "is a cluster" in verdict.why


def test_a_stranger_is_named_with_its_pid() -> None:
    for greeting in (b"SSH-2.0-OpenSSH_9.2\r\n", b"J\0\0\0\x0a8.0.36\0", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        with listener(greeting) as port:
            verdict = classify(f"redis://127.0.0.1:{port}")
            assert verdict.finding is Finding.STRANGER
            assert f"(pid {os.getpid()})" in verdict.why
    with listener(answer=lambda said: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert '(it says "HTTP/1.1 400 Bad Request")' in classify(f"redis://127.0.0.1:{port}").why
    with listener(answer=lambda said: None) as port:
        assert classify(f"redis://127.0.0.1:{port}").finding is Finding.STRANGER
    with listener(answer=lambda said: b"+OK POP3 ready\r\n") as port:
        assert classify(f"redis://127.0.0.1:{port}").finding is Finding.STRANGER
    for odd in (b"$-x\r\n", b"*999999999\r\n", b"\r\n", b":" + b"1" * 5000 + b"\r\n"):
        with listener(answer=lambda said, odd=odd: odd) as port:  # type: ignore[misc]
            assert classify(f"redis://127.0.0.1:{port}").finding is Finding.STRANGER


def test_who_accepts_and_never_answers_is_silent() -> None:
    with listener() as port:
        verdict = classify(f"redis://127.0.0.1:{port}", 0.2)
        assert verdict.finding is Finding.SILENT
        assert f"(pid {os.getpid()}) accepts connections on 127.0.0.1:{port} and does not answer" in verdict.why


def test_a_redis_older_than_6_2_is_too_old() -> None:
    with listener(answer=old_redis("5.0.10")) as port:
        verdict = classify(f"redis://127.0.0.1:{port}")
        assert verdict.finding is Finding.TOO_OLD
        assert "is version 5.0.10, and Celery with kombu 5.7 or newer needs 6.2" in verdict.why
    with listener(answer=old_redis("6.2.0")) as port:
        assert classify(f"redis://127.0.0.1:{port}").finding is Finding.OK


def test_protected_mode_is_told() -> None:
    # A greeting of a real server to a client that does not come from loopback, which a test must not be.
    with listener(
        b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n", lambda said: None
    ) as port:
        assert classify(f"redis://127.0.0.1:{port}").finding is Finding.DENIED


def test_tls_on_one_side_alone_is_told_from_both_sides(tmp_path: Path) -> None:
    with redis_server() as server:
        verdict = classify(server.url.replace("redis://", "rediss://"))
        assert (verdict.finding, verdict.fix) == (Finding.TLS, "write redis:// instead of rediss://")
    certificate, key = _certificate(tmp_path)
    files = f'tls-cert-file "{certificate}"\ntls-key-file "{key}"\ntls-ca-cert-file "{certificate}"'
    conf = f"port 0\ntls-port PORT\n{files}\ntls-auth-clients no"
    port = free_port()
    with redis_server(port=port, conf=conf.replace("PORT", f"{port}"), wait=False) as server:
        eventually(lambda: _open(port) or server.process.poll() is not None, "TLS port", server.log)
        if server.process.poll() is not None:
            pytest.skip("this Redis is built without TLS")
        verdict = classify(f"redis://127.0.0.1:{port}")
        assert (verdict.finding, verdict.fix) == (Finding.TLS, "if it is a Redis, write rediss:// in the URL")
        verdict = classify(f"rediss://127.0.0.1:{port}")
        assert verdict.finding is Finding.TLS
        assert "is not trusted" in verdict.why
        assert classify(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none").finding is Finding.OK
        assert classify(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}").finding is Finding.OK
        assert "file in the URL" in classify(f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path}/none").why


def _certificate(directory: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = directory / "c.pem", directory / "k.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    where = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*make, *where], check=True, capture_output=True)
    return certificate, key


def _open(port: int, host: str = "127.0.0.1", family: int = socket.AF_INET) -> bool:
    with socket.socket(family) as wire:
        return wire.connect_ex((host, port)) == 0


@pytest.mark.parametrize(
    "url", ["redis://h:port/0", "redis://user:secret-word", "redis://h/x", "unix://", "amqp://h", "", "redis://[::1"]
)
def test_a_url_that_cannot_be_read_is_a_sentence_without_its_secrets(url: str) -> None:
    verdict = classify(url)
    assert verdict.finding is Finding.BAD_URL
    assert "secret" not in verdict.why


def test_an_unknown_host_is_unreachable() -> None:
    assert classify("redis://redis.invalid:6379", 2.0).finding in (Finding.UNREACHABLE, Finding.SILENT)


# The probe


def ask(server: Server, url: str | None = None, **of: object) -> Answer:
    return asyncio.run(probe.ask(subject(**of), server.url if url is None else url))  # type: ignore[arg-type]


def test_the_probe_says_whose_the_server_is() -> None:
    with redis_server() as server:
        answer = ask(server, argv=())
        assert answer.health is Health.READY
        assert answer.why.endswith(" ms (not ours)")
        assert ask(server, pid=server.pid, stdin=b"").why.endswith(" ms (ours)")


def test_a_stranger_that_took_our_servers_port_does_not_make_it_ready() -> None:
    with redis_server() as server:
        answer = ask(server, pid=os.getpid(), stdin=b"port 1")
        assert answer.health is Health.NOT_YET
        assert answer.why == f"another Redis (pid {server.pid}) answers there"


def test_without_a_url_the_port_that_the_process_opened_is_asked() -> None:
    with redis_server(password="x") as server:
        answer = ask(server, "", pids={server.pid})
        assert answer == Answer(Health.READY, f"answers on 127.0.0.1:{server.port} and wants a password")
        assert ask(server, "", pids={os.getpid()}).health is Health.NOT_YET


def test_a_probe_answers_while_the_loop_goes_on() -> None:
    with listener() as port:

        async def both() -> int:
            asking = asyncio.ensure_future(probe.ask(subject(), f"redis://127.0.0.1:{port}", 0.3))
            turns = 0
            while not asking.done():
                await asyncio.sleep(0)
                turns += 1
            return turns

        assert asyncio.run(both()) > 10
        assert threading.active_count() < 10
