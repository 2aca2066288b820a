"""How is the Redis at a URL? `classify` finds out by asking it; `ask` is the probe.

Rule 1: the first thing that is wrong is the answer, as one sentence and what to do about it.
Rule 2: no sentence holds a password.
Rule 3: only `classify(write=True)` writes (one key that lives half a second): a probe that wrote every few seconds would make every
server save its data to disk.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from devstack.core import redis_url
from devstack.core.health import Answer, Health, Subject
from devstack.core.redis_url import RedisUrl
from devstack.probes import ports
from devstack.probes.resp import NotRedis, Refusal, Wire, speaks_tls

OLDEST: Final = (6, 2)
"""kombu 5.7 uses ZADD GT and ZRANGE BYSCORE, which came with Redis 6.2."""


class Finding(StrEnum):
    OK = "ok"
    BAD_URL = "bad url"
    NOTHING = "nothing listens"
    UNREACHABLE = "unreachable"
    STRANGER = "not a redis"
    SILENT = "silent"
    TLS = "tls"
    """One side speaks TLS and the other does not, or the certificate is not trusted."""
    NOAUTH = "noauth"
    WRONGPASS = "wrongpass"
    DENIED = "denied"
    LOADING = "loading"
    MISCONF = "misconf"
    READONLY = "readonly"
    OOM = "oom"
    NOPERM = "noperm"
    BUSY = "busy"
    MAXCLIENTS = "maxclients"
    BAD_DB = "bad db"
    TOO_OLD = "too old"
    UNFIT = "unfit"
    """A Redis, but none that Celery can use: a Sentinel, a cluster, or one that refuses for a reason of its own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`why` and `fix` are sentences without a full stop. `pid` is the server's own; 0 when it did not say."""

    finding: Finding
    why: str
    fix: str = ""
    version: str = ""
    flavour: str = ""
    latency_ms: float = 0.0
    pid: int = 0
    warning: str = ""
    """What is wrong with a server that can be used."""

    @property
    def usable(self) -> bool:
        # The user's ACL may forbid only our key.
        return self.finding in (Finding.OK, Finding.NOPERM)


async def ask(subject: Subject, url: str = "", within: float = 2.0) -> Answer:
    """Ready when the Redis at `url` answers. Without `url`: when one answers on any port that the process tree listens on.

    Blocking, so it runs in a thread. Whether the server is ours is read off the launch: an outside server has an empty argv.
    """
    if not url:
        return await _at_any_port(subject, within)
    verdict = await asyncio.to_thread(classify, url, within, write=False)
    launch = subject.launch
    if not verdict.usable:
        health = Health.BUSY if verdict.finding is Finding.BUSY else Health.NOT_YET
        return Answer(health, verdict.why, verdict.fix)
    # Only for a server that is our own child: in a Procfile line a container or a shell may stand between us and the server, and ours
    # may be in a container as well.
    known = launch.stdin is None or launch.shell or not verdict.pid or not subject.pid or verdict.pid == subject.pid
    # The Python of a venv on Windows is a launcher, whose child our embedded server is then.
    if not known and verdict.pid not in await asyncio.to_thread(subject.pids):
        return Answer(
            Health.NOT_YET, f"another Redis (pid {verdict.pid}) answers there", "stop it, or let devstack use it"
        )
    return Answer(Health.READY, f"{verdict.why} ({'ours' if launch.argv else 'not ours'})")


async def _at_any_port(subject: Subject, within: float) -> Answer:
    open_ports = await asyncio.to_thread(lambda: ports.listening(subject.pids()))
    answer = Answer(Health.NOT_YET, "has not opened a port yet")
    for address, number in open_ports:
        url = RedisUrl(host=ports.reachable(address), port=number)
        verdict = await asyncio.to_thread(classify, f"redis://{url.place}", within, write=False)
        if verdict.usable or verdict.finding is Finding.NOAUTH:
            why = verdict.why if verdict.usable else f"answers on {url.place} and wants a password"
            return Answer(Health.READY, why)
        answer = Answer(Health.NOT_YET, verdict.why, verdict.fix)
    return answer


def classify(text: str, timeout: float = 1.0, *, write: bool = True) -> Verdict:
    """Ask the server at a redis://, rediss://, unix:// or redis+socket:// URL how it is. Blocks for up to `timeout` seconds (twice that
    where TLS is in question)."""
    try:
        url = redis_url.parse(text)
    except ValueError as error:
        return Verdict(
            Finding.BAD_URL, f"the Redis URL cannot be read: {error}", "write redis://:PASSWORD@HOST:PORT/DB"
        )
    try:
        with Wire(url, timeout) as wire:
            return _Questions(url, wire, write).verdict()
    except NotRedis as error:
        return _stranger(url, error.said, timeout)
    except TimeoutError:
        if url.tls and not speaks_tls(url, timeout):
            return _no_tls(url, timeout)
        owner = _owner(url)
        why = f"{owner or 'something'} accepts connections on {url.place} and does not answer"
        if not url.local:
            why = f"no answer from {url.place} within {timeout:g} s"
        return Verdict(Finding.SILENT, why, "if it is a Redis that hangs, restart it; otherwise choose another port")
    except OSError as error:
        return _no_connection(url, error, timeout)


class _Questions:
    """PING, AUTH, SELECT, INFO, SET, in this order; the first refusal that matters ends it."""

    def __init__(self, url: RedisUrl, wire: Wire, write: bool) -> None:
        self.url, self.wire, self.write = url, wire, write
        self.latency_ms = 0.0
        self.needless = False
        self.info: dict[str, str] = {}

    def verdict(self) -> Verdict:
        bad = self._ping() or self._select() or self._information() or (self._set() if self.write else None)
        return bad or self._found(Finding.OK, f"answered PING in {self.latency_ms:.0f} ms", warning=self._warning())

    def _ping(self) -> Verdict | None:
        began = time.perf_counter()
        reply = self.wire.ask("PING")
        self.latency_ms = (time.perf_counter() - began) * 1000
        refused = reply if isinstance(reply, Refusal) else None
        if refused is None and reply != "PONG":
            raise NotRedis(f"{reply}"[:40])
        if self.url.wants_login and (refused is None or refused.word == "NOAUTH"):
            if bad := self._login():
                return bad
            again = self.wire.ask("PING")
            refused = again if isinstance(again, Refusal) else None
        return None if refused is None or refused.word == "NOPERM" else self._refused(refused)

    def _login(self) -> Verdict | None:
        name = (self.url.username,) if self.url.username else ()
        reply = self.wire.ask("AUTH", *name, self.url.password or "")
        if not isinstance(reply, Refusal):
            return None
        if "without any password" in reply or "no password is set" in reply:
            self.needless = True
            return None
        who = f' for the user "{self.url.username}"' if self.url.username else ""
        why = f"the Redis on {self.url.place} refused the password in the URL{who}"
        fix = f'correct it; "{self.url.cli}" and then AUTH tries one by hand'
        return self._found(Finding.WRONGPASS, why, fix)

    def _select(self) -> Verdict | None:
        reply = self.wire.ask("SELECT", f"{self.url.db}") if self.url.db else "OK"
        if not isinstance(reply, Refusal) or reply.word == "NOPERM":
            return None
        if reply.word == "ERR":
            why = f"the Redis on {self.url.place} has no database {self.url.db}"
            fix = "use a lower number in the URL (a Redis has 0 to 15 by default), or raise `databases` in its configuration"
            return self._found(Finding.BAD_DB, why, fix)
        return self._refused(reply)

    def _information(self) -> Verdict | None:
        reply = self.wire.ask("INFO")
        if isinstance(reply, Refusal):
            return None if reply.word in ("NOPERM", "ERR") else self._refused(reply)
        lines = (line.partition(":") for line in f"{reply}".splitlines())
        self.info = {key: value.strip() for key, mark, value in lines if mark}
        mode = self.info.get("redis_mode", "standalone")
        if mode != "standalone":
            why = f"the Redis on {self.url.place} is a {mode}, which Celery cannot use through redis://"
            fix = "use sentinel:// for a Sentinel" if mode == "sentinel" else "use a Redis that is not a cluster"
            return self._found(Finding.UNFIT, why, fix)
        speaks = self.info.get("redis_version", "")
        if speaks and _numbers(speaks) < OLDEST:
            why = f"the Redis on {self.url.place} is version {speaks}, and Celery with kombu 5.7 or newer needs 6.2"
            return self._found(Finding.TOO_OLD, why, "upgrade it, or stop it and let devstack start one of its own")
        return None

    def _set(self) -> Verdict | None:
        reply = self.wire.ask("SET", f"devstack:probe:{uuid.uuid4().hex}", "1", "PX", "500")
        return self._refused(reply) if isinstance(reply, Refusal) else None

    def _refused(self, reply: Refusal) -> Verdict:
        place, cli, db = self.url.place, self.url.cli, self.url.db
        finding, why, fix = {
            "NOAUTH": (
                Finding.NOAUTH,
                f"the Redis on {place} wants a password and the URL has none",
                f"write it into the URL: redis://:PASSWORD@{place}/{db}",
            ),
            "DENIED": (
                Finding.DENIED,
                f"the Redis on {place} is in protected mode and refuses other machines",
                "give that Redis a password (requirepass), or run one on this machine",
            ),
            "LOADING": (Finding.LOADING, f"the Redis on {place} is still loading its data", "wait"),
            "MISCONF": (
                Finding.MISCONF,
                f"the Redis on {place} cannot save its data to disk and refuses to work",
                f"free disk space, or correct its `dir`; to go on without saving: {cli} config set stop-writes-on-bgsave-error no",
            ),
            "READONLY": (
                Finding.READONLY,
                f"the Redis on {place} is a read-only replica" + self._master(),
                f"use its master, or make it one: {cli} replicaof no one",
            ),
            "OOM": (
                Finding.OOM,
                f"the Redis on {place} has used up its maxmemory and refuses to store anything",
                f"empty it, or give it more: {cli} config set maxmemory 0",
            ),
            "NOPERM": (Finding.NOPERM, f"answered PING in {self.latency_ms:.0f} ms", ""),
            "BUSY": (
                Finding.BUSY,
                f"the Redis on {place} runs a script that does not end",
                f"{cli} script kill",
            ),
        }.get(reply.word, (Finding.UNFIT, f"the Redis on {place} refuses: {reply[:120]}", ""))
        if "max number of clients" in reply:
            finding, why = Finding.MAXCLIENTS, f"the Redis on {place} has no connection left"
            fix = f"end programs that use it, or allow more: {cli} config set maxclients 10000"
        warning = f"its ACL forbids our test: {reply[:120]}" if finding is Finding.NOPERM else ""
        return self._found(finding, why, fix, warning)

    def _master(self) -> str:
        host, port = self.info.get("master_host"), self.info.get("master_port")
        return f" of {host}:{port}" if host else ""

    def _warning(self) -> str:
        if self.needless:
            # With RESP3 the login succeeds, with RESP2 (redis-py's default before 8) it is an error: both tried.
            return "the URL has a password and that Redis wants none, on which redis-py before 8 fails: take it out"
        policy = self.info.get("maxmemory_policy", "noeviction")
        if policy == "noeviction" or self.info.get("maxmemory", "0") == "0":
            return ""
        return f"its maxmemory-policy is {policy}: when it is full it drops keys, and Celery's queues are keys"

    def _found(self, finding: Finding, why: str, fix: str = "", warning: str = "") -> Verdict:
        flavour, version = _make(self.info)
        pid = self.info.get("process_id", "")
        return Verdict(finding, why, fix, version, flavour, self.latency_ms, int(pid) if pid.isdigit() else 0, warning)


def _make(info: dict[str, str]) -> tuple[str, str]:
    """Flavour and version. Valkey reports 7.2.4 as redis_version, for the sake of old clients; its own is elsewhere."""
    for flavour in ("valkey", "dragonfly", "garnet"):
        if version := info.get(f"{flavour}_version"):
            return flavour, version.removeprefix("df-v")
    flavour = "keydb" if "keydb" in info.get("executable", "") else "redis"
    return (flavour, info["redis_version"]) if "redis_version" in info else ("", "")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())


def _stranger(url: RedisUrl, said: str, timeout: float) -> Verdict:
    if not said and not url.tls and not url.path and speaks_tls(url, timeout):
        return Verdict(
            Finding.TLS, f"what listens on {url.place} speaks TLS", "if it is a Redis, write rediss:// in the URL"
        )
    what = _owner(url) or "a program that is no Redis"
    how = f' (it says "{said}")' if said.isprintable() and said else ""
    return Verdict(
        Finding.STRANGER,
        f"{url.place} is used by {what}, which does not speak Redis' protocol{how}",
        "stop it, or choose another port for Redis",
    )


def _no_connection(url: RedisUrl, error: OSError, timeout: float) -> Verdict:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the certificate of {url.place} is not trusted: {error.verify_message}"
        return Verdict(Finding.TLS, why, "add ?ssl_ca_certs=FILE to the URL, or ?ssl_cert_reqs=none for development")
    if isinstance(error, FileNotFoundError) and (url.tls or not url.path):
        return Verdict(
            Finding.TLS, f"a certificate file in the URL of {url.place} is missing", "correct ssl_… in the URL"
        )
    if isinstance(error, FileNotFoundError):
        return Verdict(Finding.NOTHING, f"no socket at {url.path}", "start Redis there")
    if isinstance(error, ConnectionRefusedError):
        return Verdict(Finding.NOTHING, f"connection refused on {url.place}", "start Redis there")
    if url.tls:
        return _no_tls(url, timeout)
    if isinstance(error, socket.gaierror):
        fix = "correct the host in the URL; names such as redis or db are known inside Docker Compose only"
        return Verdict(Finding.UNREACHABLE, f"the host {url.host} is not known here", fix)
    why = f"no connection to {url.place}: {(error.strerror or f'{error}').lower()}"
    return Verdict(Finding.UNREACHABLE, why, "correct the URL, or start the server there")


def _no_tls(url: RedisUrl, timeout: float) -> Verdict:
    """For a handshake that failed: is it a Redis without TLS, or no Redis?"""
    plain = RedisUrl(host=url.host, port=url.port)
    try:
        with Wire(plain, timeout) as wire:
            redis = wire.ask("PING") == "PONG" or isinstance(wire.ask("PING"), Refusal)
    except (OSError, NotRedis):
        redis = False
    if redis:
        return Verdict(
            Finding.TLS, f"the Redis on {url.place} does not speak TLS", "write redis:// instead of rediss://"
        )
    return Verdict(
        Finding.TLS, f"no TLS connection to {url.place} could be made", "check the host, port and ssl_… of the URL"
    )


def _owner(url: RedisUrl) -> str:
    owner = ports.owner_of(url.port) if url.local and not url.path else None
    return str(owner) if owner else ""
