"""Is the worker that we started registered, and does it answer?

Rule 1: the beacon says who is registered (its pid is ours); one control ping to exactly that node confirms it. After that heartbeats are
        enough: no broker traffic while they are fresh.
Rule 2: a broker that does not answer is never the worker's fault, and a solo worker in a task is busy, not down.
Rule 3: `ask` answers within ANSWER_WITHIN; the caller counts the misses of a ready worker.

Celery's own `app.control` does the talking, on a bare app in a thread. Measured (Celery 5.7, Redis 7): importing it and redis-py and the
first ping cost 0.2 s of CPU, each later ping 2.5 ms (hand-written message bytes: 1.2 ms). So the import and the connection are done while
the worker itself waits for its peers (its "mingle" second), and the ping that somebody waits for costs milliseconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from devstack.core.health import Answer, Broker, Health, Subject
from devstack.core.secrets import mask

FRESH = 6.0
"""A worker sends a heartbeat every 2 s; older than this many seconds it is asked."""
FIRST_PINGS = (0.05, 0.1, 0.3, 1.0)
"""A worker says that it is ready some milliseconds before it listens to control messages: the first waits are short."""
PING = (1.0,)
UNHEARD_AFTER, UNHEARD_EVERY = 5.0, 2.0
"""A program that never tells of Celery is looked for by broadcast, from then on and that often (s)."""
CONTROLLABLE = ("redis", "rediss", "redis+socket", "sentinel", "valkey", "valkeys", "amqp", "amqps", "pyamqp")
"""Transports with remote control; a worker on another one is believed without a ping."""
ASK_WITHOUT_PONG = 3


class CannotAsk(Exception):
    """No control message can be sent from here (no such transport, wrong password); says nothing about broker or worker."""


class BrokerDown(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Address:
    """Where the control messages of a worker go."""

    url: str
    exchange: str = "celery"
    options: tuple[tuple[str, object], ...] = ()

    @property
    def shown(self) -> str:
        return mask(self.url)


class Control:
    """A bare Celery app for one broker, made on first use and kept. Its methods block: call them in a thread."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._app: Any = None
        self._lock = threading.Lock()

    def app(self) -> Any:
        from celery import Celery

        with self._lock:
            if self._app is None:
                app = Celery("devstack", broker=self.address.url, set_as_current=False)
                # Fail soon instead of trying for ever: whoever asks decides when to ask again.
                limits = {"socket_timeout": 2, "socket_connect_timeout": 2, "max_retries": 0}
                limits |= {"interval_start": 0, "interval_step": 0, "interval_max": 0}
                app.conf.update(
                    broker_url=self.address.url,
                    broker_connection_timeout=2,
                    control_exchange=self.address.exchange,
                    broker_transport_options={**dict(self.address.options), **limits},
                )
                self._app = app
            return self._app

    def forget(self) -> None:
        with self._lock:
            self._app = None

    def warm(self) -> None:
        """Import and connect ahead of the first question."""
        try:
            self.talk(lambda app: app.pool.acquire(block=True).release())
            self.ping("", (0.001,))
        except (CannotAsk, BrokerDown):
            pass

    def ping(self, node: str, waits: tuple[float, ...]) -> float | None:
        """Seconds until the pong of exactly this node; None when none came within the last of the waits."""
        for wait in waits:
            began = time.monotonic()
            if self.talk(lambda app, wait=wait: app.control.ping(destination=[node], timeout=wait)):
                return time.monotonic() - began
        return None

    def stats(self) -> dict[str, dict[str, Any]]:
        """What every worker on this broker says of itself, by node."""
        replies = self.talk(lambda app: app.control.broadcast("stats", reply=True, timeout=1.0))
        return {node: said for reply in replies for node, said in reply.items() if isinstance(said, dict)}

    def talk(self, say: Callable[[Any], Any]) -> Any:
        """Foreign errors become CannotAsk or BrokerDown here. A connection that has gone stale is replaced once."""
        scheme = self.address.url.partition(":")[0]
        if scheme not in CONTROLLABLE:
            raise CannotAsk(f"{scheme} has no remote control")
        for last in (False, True):
            try:
                return say(self.app())
            except (ImportError, KeyError, ValueError) as error:
                raise CannotAsk(str(error)) from error
            except Exception as error:
                self.forget()
                names = {type(error).__name__, type(error.__cause__).__name__}
                if names & {"AuthenticationError", "AuthorizationError", "NoPermissionError", "AccessRefused"}:
                    raise CannotAsk(str(error)) from error
                if last:
                    raise BrokerDown(str(error).rstrip(". ")) from error
        raise AssertionError


@dataclass(slots=True)
class Known:
    """What is remembered between two questions about one run."""

    run: tuple[int, float]
    sentence: str = ""
    """How it was confirmed; empty while it is not."""
    proof: float = 0.0
    """When it last answered."""
    unanswered: int = 0
    node: str = ""
    solo: bool = False
    pings: bool = True
    warm: bool = False
    looked: float = field(default_factory=time.monotonic)


_known: dict[str, Known] = {}
_controls: dict[Address, Control] = {}


async def ask(subject: Subject) -> Answer:
    run = (subject.run, subject.started)
    known = _known.get(subject.process)
    if known is None or known.run != run:
        known = _known[subject.process] = Known(run)
    if "worker_ready" in subject.beacon:
        return await _registered(subject, known)
    if known.sentence or not subject.launch.channel:
        return await _unheard(subject, known)
    return await _starting(subject, known)


async def _starting(subject: Subject, known: Known) -> Answer:
    starting = subject.beacon.get("worker_starting")
    control = _control(subject)
    if control and not known.warm and (starting or "--without-mingle" in subject.launch.argv):
        known.warm = True
        threading.Thread(target=control.warm, name="devstack-warm-celery", daemon=True).start()
    if starting:
        why = f"{starting['node']} has loaded its app (pid {starting['pid']}), it is not registered at the broker yet"
        if control and time.monotonic() - _seen(starting) > UNHEARD_EVERY:
            try:
                await _in_thread(lambda: control.ping("", (0.001,)))
            except BrokerDown as error:
                return _broker_down(control, error)
            except CannotAsk:
                pass
        return Answer(Health.NOT_YET, why)
    if time.monotonic() - subject.started > UNHEARD_AFTER and time.monotonic() - known.looked > UNHEARD_EVERY:
        known.looked = time.monotonic()
        return await _unheard(subject, known)
    return Answer(Health.NOT_YET, f"the process runs (pid {subject.pid}), no Celery worker registered yet")


async def _registered(subject: Subject, known: Known) -> Answer:
    ready = subject.beacon["worker_ready"]
    node, pid, pool = str(ready["node"]), ready["pid"], str(ready.get("pool") or "")
    if pid != subject.pid and (pids := subject.pids()) and pid not in pids:
        return Answer(Health.NOT_YET, f"{node} registered, but its pid {pid} is no process of {subject.process}")
    leaving = subject.beacon.get("worker_leaving")
    if leaving and _seen(leaving) > _seen(ready):
        return Answer(Health.BUSY, f"{node} is leaving ({leaving.get('how')} shutdown)")
    heard = max(known.proof, _seen(ready), _seen(subject.beacon.get("heartbeat")))
    if known.sentence and time.monotonic() - heard < FRESH:
        return Answer(Health.READY, known.sentence)

    known.node, known.solo = node, pool == "solo"
    size = f"{pool} ×{ready['concurrency']}" if pool not in ("", "solo") else pool
    queues = ",".join(map(str, ready.get("queues") or []))  # type: ignore[call-overload]
    about = f"{node} registered (" + ", ".join(filter(None, (f"pid {pid}", size, queues and f"queues {queues}"))) + ")"
    control = _control(subject)
    if control is None or ready.get("remote_control") is False or not known.pings:
        known.sentence = known.sentence or f"{about}, not pinged: " + (
            "its broker's password is not known here" if control is None else "remote control is off"
        )
        return _silent(known, heard)
    try:
        took = await _in_thread(lambda: control.ping(node, PING if known.sentence else FIRST_PINGS))
    except BrokerDown as error:
        return _broker_down(control, error)
    except CannotAsk as error:
        known.pings = False
        known.sentence = f"{about}, not pinged: {error}"
        return Answer(Health.READY, known.sentence)
    if took is not None:
        return _pong(known, about, took)
    if known.sentence:
        return _no_pong(subject, known, heard)
    known.unanswered += 1
    if known.solo or known.unanswered >= ASK_WITHOUT_PONG:
        # It said itself that it consumes: a backlog may keep it busy from the first moment on.
        known.sentence = f"{about}, no pong yet" + (" (solo: busy)" if known.solo else "")
        return Answer(Health.READY, known.sentence)
    return Answer(Health.NOT_YET, f"{about}, but it does not answer a ping yet")


async def _unheard(subject: Subject, known: Known) -> Answer:
    """A worker without a beacon (docker, a shell script): found by its node name, or by a pid of ours."""
    control = _control(subject)
    alive = f"the process runs (pid {subject.pid})"
    if control is None:
        return Answer(Health.NOT_YET, f"{alive}, and no broker is known to ask for its worker")
    try:
        node = known.node or await _in_thread(lambda: _node_named(subject.launch.argv))
        if node and (took := await _in_thread(lambda: control.ping(node, PING))) is not None:
            known.node = node
            return _pong(known, f"{node} registered", took)
        if known.sentence:
            return _no_pong(subject, known, known.proof)
        began = time.monotonic()
        nodes = await _in_thread(control.stats)
    except BrokerDown as error:
        return _broker_down(control, error)
    except CannotAsk as error:
        return Answer(Health.NOT_YET, f"{alive}, its worker cannot be asked: {error}")
    pids = subject.pids()
    for name, said in nodes.items():
        if said.get("pid") in pids:
            known.node = name
            known.solo = "solo" in str(said.get("pool"))
            return _pong(known, f"{name} registered (pid {said['pid']})", time.monotonic() - began)
    if node or not nodes:
        return Answer(Health.NOT_YET, f"{alive}, no Celery worker{f' named {node}' if node else ''} registered yet")
    others = ", ".join(sorted(nodes)[:3])
    fix = "name it in the command: -n NAME@HOST"
    return Answer(
        Health.NOT_YET, f"{alive}, but none of the workers that answer is one of its processes ({others})", fix
    )


def _pong(known: Known, about: str, took: float) -> Answer:
    known.proof = time.monotonic()
    if not known.sentence:
        known.sentence = f"{about}, ping {max(1, round(took * 1000))} ms"
    return Answer(Health.READY, known.sentence)


def _no_pong(subject: Subject, known: Known, heard: float) -> Answer:
    silence = f"{time.monotonic() - heard:.0f} s"
    if known.solo:
        return Answer(Health.BUSY, f"{known.node} is busy for {silence} (solo: it answers when its task ends)")
    return Answer(
        Health.NOT_YET,
        f"{known.node} does not answer: no pong, and nothing heard for {silence}",
        f"`kill -USR1 {subject.pid}` makes it print what every thread does",
    )


def _silent(known: Known, heard: float) -> Answer:
    """A worker that cannot be asked is believed; when its heartbeats stop, nothing can be said."""
    if time.monotonic() - heard < FRESH or known.proof == 0.0:
        known.proof = known.proof or time.monotonic()
        return Answer(Health.READY, known.sentence)
    return Answer(
        Health.UNKNOWN, f"no heartbeat of {known.node} for {time.monotonic() - heard:.0f} s, and it cannot be pinged"
    )


def _broker_down(control: Control, error: BrokerDown) -> Answer:
    return Answer(Health.UNKNOWN, f"the broker {control.address.shown} does not answer: {error}")


def _control(subject: Subject) -> Control | None:
    address = address_of(subject.broker, subject.beacon.get("worker_ready"))
    return _controls.setdefault(address, Control(address)) if address else None


def address_of(broker: Broker | None, ready: dict[str, object] | None) -> Address | None:
    """The worker's own word on its broker wins over what was read from settings; None when its password is not known to us."""
    ready = ready or {}
    said = str(ready.get("broker") or "")
    known = broker.url if broker else ""
    if not said or _server(said) == _server(known):
        url = known
    else:
        parts = urlsplit(said)
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        if ready.get("has_password"):
            return None
    if not url:
        return None
    options = dict(broker.transport_options) if broker and url == known else {}
    if isinstance(found := ready.get("transport_options"), dict):
        options |= found
    exchange = str(ready.get("control_exchange") or (broker.control_exchange if broker else "celery"))
    return Address(url, exchange, tuple(sorted((key, _frozen(value)) for key, value in options.items())))


def _server(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}.get(parts.scheme)
    except ValueError:
        return url, "", None, ""
    host = "127.0.0.1" if parts.hostname in (None, "localhost") else str(parts.hostname)
    return parts.scheme, host, port, parts.path.strip("/") or "0"


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return tuple(sorted((key, _frozen(item)) for key, item in value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _node_named(argv: tuple[str, ...]) -> str:
    """The node that `-n` names, as Celery itself would expand it; "" when none is named."""
    from devstack.kinds.celery import option

    named = option(list(argv), "-n", "--hostname")
    if not named:
        return ""
    from celery.utils.nodenames import default_nodename, host_format

    return str(host_format(default_nodename(named)))


def _seen(message: dict[str, object] | None) -> float:
    return float(message["seen"]) if message else 0.0  # type: ignore[arg-type]


async def _in_thread[T](question: Callable[[], T]) -> T:
    """Like asyncio.to_thread, but a hanging broker never keeps devstack from leaving: the thread is a daemon."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = question()
        except BaseException as caught:
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # The loop is closed: nobody waits any more.
            pass

    threading.Thread(target=work, name="devstack-ask-celery", daemon=True).start()
    return await future
