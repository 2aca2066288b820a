"""Where the stack's Redis comes from, decided before anything starts.

Rule 1: what answers is used and never stopped; what is not on this machine is only looked at.
Rule 2: where nothing listens, a server of ours starts on the very port the project names, so that its settings hold.
Rule 3: an address that a person chose is never moved; only where nobody chose one (Origin.NOWHERE) may ours listen elsewhere, and then
the children are told through CELERY_BROKER_URL.
Rule 4: a variable that a person set is never replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shlex
import shutil
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from devstack.core import redis_url
from devstack.core.health import Broker
from devstack.core.model import Service
from devstack.core.record import Record, replace
from devstack.core.redis_url import RedisUrl
from devstack.core.secrets import mask
from devstack.errors import DevstackError
from devstack.kinds import redis as kind
from devstack.probes import tcp
from devstack.probes.redis import Finding, Verdict, classify
from devstack.runtime import container, servers
from devstack.runtime.broker import BACKEND_VARIABLE, BROKER_VARIABLE, Origin
from devstack.runtime.container import Wanted

LOCAL_WITHIN: Final = 1.0
REMOTE_WITHIN: Final = 3.0
NAME: Final = "redis"
_SCHEME: Final = re.compile(r"\s*[A-Za-z][\w.+-]*://")


class Needs(Record):
    """What the stack needs. `env` is what the children get (the venv on PATH), `names` are all processes that are to run.

    `celery`: something here uses a broker. `lines`: the Procfile's own Redis servers (role "redis"), which may be `running` already.
    `kombu`: the project's version of it, if known.
    """

    broker: Broker
    origin: Origin
    celery: bool
    state_dir: Path
    env: Mapping[str, str]
    lines: tuple[Service, ...] = ()
    running: bool = False
    names: frozenset[str] = frozenset()
    start: bool = True
    persist: bool = False
    docker: Wanted | None = None
    kombu: str = ""
    system: str = "linux"
    preview: bool = False
    """Only to tell what would be done: no directory is made, and no container gets ready."""


@dataclass(slots=True)
class Provision:
    """`service` is to be added (None: nothing). `replaced`: processes of the Procfile and what runs, or is asked, in their place.

    `inject` are variables for the children. `notes` are sentences for the person.
    """

    broker: Broker
    service: Service | None = None
    replaced: dict[str, Service] = field(default_factory=dict)
    inject: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


async def provision(needs: Needs, say: Callable[[str], None]) -> Provision:
    """Decide. DevstackError when the broker cannot be used and a person has to do something."""
    needs, note = await _instead_of_rabbitmq(needs)
    made = Provision(needs.broker, notes=[note] if note else [])
    if not needs.preview:
        _make_directories(needs)
    lines = [(line, at, _parsed(at, line.where)) for line in needs.lines if (at := _url_of(line))]
    # A line with a probe of the settings may ask a server elsewhere: that is not ours to think about.
    lines = [each for each in lines if each[2].local]
    text = needs.broker.url or (_default(needs, lines) if needs.celery else "")
    if text and not _SCHEME.match(text):
        raise _no_scheme(text, needs.broker.source)
    if text and not redis_url.is_redis(text):
        scheme = text.partition("://")[0][:20]
        made.notes.append(f"the broker is {scheme} ({needs.broker.source}): devstack neither starts nor watches it")
    elif text:
        url = _parsed(text, needs.broker.source)
        mine = next((each for each in lines if url.local and _same(url, each[2])), None)
        if mine:
            lines.remove(mine)
            made.broker = replace(made.broker, url=text, ours=await _line(mine[0], text, url, needs, made, say))
        else:
            await _broker(text, url, needs, made, say)
        made.notes += [each for line, _, at in lines if (each := _unused(line, at, needs, made))]
        _tell_children(needs, made, backend=not note)
    for line, line_text, line_url in lines:
        await _line(line, line_text, line_url, needs, made, say)
    return made


async def _broker(text: str, url: RedisUrl, needs: Needs, made: Provision, say: Callable[[str], None]) -> None:
    """The broker when no line of the Procfile is to serve it."""
    if not url.local:
        say(f"asking the Redis at {url.place}")
    verdict = await _classify(text, url)
    name, made.broker = free_name(needs.names), replace(made.broker, url=text)
    if not url.local:
        made.notes.append(_about(url, verdict))
        made.service = servers.outside(name, text, needs.env) if _serves(verdict, needs) else None
    elif _serves(verdict, needs):
        made.notes.append(_about(url, verdict))
        made.service = servers.outside(name, text, needs.env)
    elif verdict.finding is Finding.NOTHING:
        if (promised := _promised(needs.names)) and not needs.lines:
            made.notes.append(f"nothing answers at {url.place} yet; devstack leaves that to the process {promised}")
        elif not needs.start:
            made.notes.append(f"nothing answers at {url.place}, and redis.start is false: start a Redis there")
            made.service = servers.outside(name, text, needs.env)
        else:
            made.service = await _ours(name, text, url, needs, made, say)
            made.broker = replace(made.broker, ours=True)
    elif needs.origin is Origin.NOWHERE and needs.start:
        moved = RedisUrl(port=_free_port(), db=url.db)
        text = moved.at_port(moved.port)
        made.service = await _ours(name, text, moved, needs, made, say)
        made.broker = replace(made.broker, url=text, ours=True)
        made.notes.append(
            f"{verdict.why}: the Redis of devstack is at {moved.place}; "
            f"settings that name {url.place} themselves (CACHES, CHANNEL_LAYERS) do not reach it"
        )
    else:
        raise _refusal(url, verdict, needs.broker.source)


async def _line(
    line: Service, text: str, url: RedisUrl, needs: Needs, made: Provision, say: Callable[[str], None]
) -> bool:
    """A Redis in the Procfile: is it needed, and can it be started? Says whether devstack's own takes its place."""
    if needs.running:
        return False
    verdict = await _classify(text, url)
    if _serves(verdict, needs):
        made.replaced[line.name] = replace(servers.outside(line.name, text, needs.env), needs=line.needs)
        made.notes.append(f"{line.name} is not started: {_about(url, verdict)}")
        return False
    if verdict.finding is not Finding.NOTHING:
        raise _refusal(url, verdict, line.where)
    launch = line.launch(1)
    if launch.shell or not launch.argv or not needs.start or _exists(launch.argv[0], launch.cwd, launch.env):
        return False
    made.notes.append(f"{line.name}: {launch.argv[0]} is not installed, and devstack's own Redis takes its place")
    ours = await _ours(line.name, text, url, needs, made, say)
    made.replaced[line.name] = replace(ours, needs=line.needs, where=line.where, auxiliary=False)
    return True


async def _ours(
    name: str, text: str, url: RedisUrl, needs: Needs, made: Provision, say: Callable[[str], None]
) -> Service:
    if url.tls:
        fix = "use redis:// for a Redis on this machine, or start one that speaks TLS"
        why = f"nothing listens on {url.place}, and the Redis that devstack starts speaks no TLS"
        raise DevstackError(f"there is no Redis at {url.place}", why=why, fix=fix, where=needs.broker.source)
    kept = "its data is kept" if needs.persist else "its data goes with it"
    if needs.docker:
        made.notes.append(f"nothing answered at {url.place}: docker runs {needs.docker.image} there, and {kept}")
        if needs.preview:
            return servers.outside(name, text, needs.env)
        return await container.service(
            name, needs.docker, text, url, needs.state_dir, needs.env, say, persist=needs.persist
        )
    directory = Path(url.path).parent
    if url.path and not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
        why = f"the directory {directory} is not there, or not writable"
        fix = f"mkdir -p {directory}, or choose another place for the socket"
        raise DevstackError(f"cannot start a Redis at {url.path}", why=why, fix=fix, where=needs.broker.source)
    server, passed = await servers.find(needs.env, needs.system)
    if server is None:
        raise servers.none_here(url.place, passed, needs.system)
    made.notes += [f"{each}: passed over" for each in passed]
    made.notes.append(f"nothing answered at {url.place}: devstack runs {server} there, and {kept}")
    if needs.preview:
        return servers.outside(name, text, needs.env)
    return servers.service(name, server, text, url, needs.state_dir, needs.env, persist=needs.persist)


async def _instead_of_rabbitmq(needs: Needs) -> tuple[Needs, str]:
    """Settings that name a RabbitMQ on this machine with the guest login (Celery's own default, and its examples'), where none runs.

    Then Redis stands in for it: CELERY_BROKER_URL beats the settings. What a person put into the environment or on a command line stays.
    """
    if needs.origin is not Origin.PROJECT or not needs.start:
        return needs, ""
    with contextlib.suppress(ValueError):
        parts = urlsplit(needs.broker.url.split(";")[0])
        default_login = (parts.username or "guest") == "guest" and (parts.password or "guest") == "guest"
        host, port = parts.hostname or "127.0.0.1", parts.port or 5672
        if parts.scheme in ("amqp", "pyamqp") and default_login and RedisUrl(host=host).local:
            try:
                async with asyncio.timeout(LOCAL_WITHIN):
                    _, writer = await tcp.connect(host, port)
                writer.close()
            except OSError:
                note = (
                    f"{needs.broker.source} name a RabbitMQ at {host}:{port}, where nothing listens, and Redis stands "
                    f"in for it; start RabbitMQ, or set {BROKER_VARIABLE}, to have it otherwise"
                )
                return replace(needs, broker=replace(needs.broker, url=""), origin=Origin.NOWHERE), note
    return needs, ""


def _tell_children(needs: Needs, made: Provision, *, backend: bool) -> None:
    """The variables for children that do not know the broker by themselves. `backend`: they may need a result backend as well."""
    if needs.origin not in (Origin.NOWHERE, Origin.SETTING):
        return
    theirs = needs.env.get(BROKER_VARIABLE)
    if not theirs:
        made.inject[BROKER_VARIABLE] = made.broker.url
        if needs.origin is Origin.NOWHERE:
            why = "nobody names a broker: " if backend else ""
            export = mask(f"export {BROKER_VARIABLE}={made.broker.url}")
            made.notes.append(
                f"{why}the processes get {BROKER_VARIABLE}, and another terminal needs it as well: {export}"
            )
    elif theirs != made.broker.url:
        made.notes.append(f"{BROKER_VARIABLE} is set to another broker than redis.url, and the processes use that one")
    # A project that names a broker and no backend has chosen to have none.
    if (
        backend
        and needs.origin is Origin.NOWHERE
        and not needs.broker.result_backend
        and not needs.env.get(BACKEND_VARIABLE)
    ):
        made.inject[BACKEND_VARIABLE] = made.broker.url
        made.broker = replace(made.broker, result_backend=made.broker.url)


async def _classify(text: str, url: RedisUrl) -> Verdict:
    return await asyncio.to_thread(classify, text, LOCAL_WITHIN if url.local else REMOTE_WITHIN)


def _serves(verdict: Verdict, needs: Needs) -> bool:
    """Whether to go on with what answers. One that is loading will serve, and its probe waits for it."""
    if verdict.finding is Finding.TOO_OLD:
        return needs.kombu != "" and _numbers(needs.kombu) < (5, 7)
    return verdict.usable or verdict.finding is Finding.LOADING


def _about(url: RedisUrl, verdict: Verdict) -> str:
    if not (verdict.usable or verdict.finding in (Finding.LOADING, Finding.TOO_OLD)):
        return f"{verdict.why}; {verdict.fix}" if verdict.fix else verdict.why
    make = f" ({verdict.flavour} {verdict.version})" if verdict.version else ""
    end = "is still loading its data" if verdict.finding is Finding.LOADING else "answers"
    warning = f"; {verdict.warning}" if verdict.warning else ""
    return f"the Redis at {url.place}{make} {end}; it is not ours and is never stopped{warning}"


def _refusal(url: RedisUrl, verdict: Verdict, where: str) -> DevstackError:
    fix = verdict.fix
    if verdict.finding is Finding.STRANGER:
        fix = f"stop it, or choose another port for Redis ({BROKER_VARIABLE}=redis://127.0.0.1:{url.port + 1}/{url.db})"
    return DevstackError(f"cannot use the Redis at {url.place}", why=verdict.why, fix=fix, where=where)


def _parsed(text: str, where: str) -> RedisUrl:
    try:
        return redis_url.parse(text)
    except ValueError as error:
        fix = "write redis://:PASSWORD@HOST:PORT/DB, for example redis://127.0.0.1:6379/0"
        raise DevstackError("the URL of a Redis cannot be read", why=f"{error}", fix=fix, where=where) from None


def _no_scheme(text: str, where: str) -> DevstackError:
    """127.0.0.1:6379: Celery takes that for the address of a RabbitMQ."""
    place, _, database = text.partition("/")
    readable = re.fullmatch(r"[\w.-]*(:\d+)?", place) and re.fullmatch(r"\d*", database)
    url = f"redis://{place}/{database or 0}" if readable else "redis://HOST:PORT/DB"
    why = "it does not begin with redis:// (or amqp://, …), and Celery would look for a RabbitMQ there"
    return DevstackError("the address of the broker has no scheme", why=why, fix=f"write {url}", where=where)


def _default(needs: Needs, lines: list[tuple[Service, str, RedisUrl]]) -> str:
    """The broker that nobody named: the one Redis of the Procfile."""
    return lines[0][1] if needs.origin is Origin.NOWHERE and len(lines) == 1 else redis_url.DEFAULT


def _unused(line: Service, url: RedisUrl, needs: Needs, made: Provision) -> str:
    """A Redis of the Procfile that does not serve the broker. A variable (REDIS_URL) may say what it is for."""
    if needs.origin is Origin.UNKNOWN:
        return ""
    for each in (*needs.env.values(), made.broker.result_backend):
        with contextlib.suppress(ValueError):
            if redis_url.is_redis(each) and (other := redis_url.parse(each)).local and _same(other, url):
                return ""
    broker = redis_url.parse(made.broker.url).place
    source = f" ({made.broker.source})" if made.broker.source else ""
    return f"{line.name} serves {url.place}, where Celery does not look: the broker is {broker}{source}"


def _make_directories(needs: Needs) -> None:
    """Those that the kind gives to the servers of the Procfile."""
    for line in needs.lines:
        for n in range(1, line.instances + 1):
            place = kind.directory_of(str(needs.state_dir), f"{line.name}.{n}", needs.system)
            if any(place in word or shlex.quote(place) in word for word in line.launch(n).argv):
                servers.make_directory(Path(place))


def _url_of(line: Service) -> str:
    """Where a Redis of the Procfile will answer; "" when nobody can tell. It may stand in its conf file."""
    launch = line.launch(1)
    probe = launch.probe or line.probe
    url = probe.options.get("url", "") if probe.how == "redis" else ""
    if url or launch.shell:
        return f"{url}"
    for word in launch.argv[1:]:
        if not word.startswith("-"):
            with contextlib.suppress(OSError):
                return kind.url_of_conf((Path(launch.cwd) / word).read_text("utf-8", "replace"))
    return ""


def _same(one: RedisUrl, other: RedisUrl) -> bool:
    """Whether two addresses of this machine are one server's."""
    return one.path == other.path if one.path or other.path else one.port == other.port


def _promised(names: frozenset[str]) -> str:
    """A process of the Procfile that is called like a Redis although we do not recognise what it runs (`docker compose up redis`)."""
    return next((name for name in sorted(names) if name.lower() in ("redis", "valkey", "redis-server")), "")


def free_name(names: Collection[str]) -> str:
    """For a Redis that devstack adds to processes with these names."""
    others = (f"{NAME}-broker{n or ''}" for n in itertools.count())
    return next(name for name in itertools.chain([NAME], others) if name not in names)


def _exists(program: str, cwd: str, env: Mapping[str, str]) -> bool:
    if os.sep in program:
        return os.access(os.path.join(cwd, program), os.X_OK)
    return shutil.which(program, path=env.get("PATH", "")) is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
