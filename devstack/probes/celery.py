"""Is the worker that we started registered, and does it answer?

Rule 1: the beacon says who is registered (its pid is ours); one control ping to exactly that node confirms it. After that heartbeats are
        enough: no broker traffic while they are fresh.
Rule 2: a broker that does not answer is never the worker's fault, and a solo worker in a task is busy, not down.
        One that is not subscribed to control messages any more is disconnected, which is neither; only Redis can tell it.
Rule 3: `ask` answers within ANSWER_WITHIN; the caller counts the misses of a ready worker.

Celery's own `app.control` does the talking, on a bare app in a thread. Measured (Celery 5.7, Redis 7): importing it and redis-py and the
first ping cost 0.2 s of CPU, each later ping 6 ms (hand-written message bytes: 1.2 ms). So the import and the connection are done while
the worker itself waits for its peers (its "mingle" second), and the ping that somebody waits for costs milliseconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, WeakValueDictionary

from devstack.core.health import Answer, Health, Subject
from devstack.probes import ports
from devstack.probes.control import Address, BrokerDown, CannotAsk, Control, address_of, in_thread

FRESH = 6.0
"""A worker sends a heartbeat every 2 s; older than this many seconds it is asked."""
FIRST_PINGS = (0.05, 0.1, 0.3, 1.0)
"""A worker says that it is ready some milliseconds before it listens to control messages: the first waits are short."""
PING = (1.0,)
UNHEARD_AFTER, UNHEARD_EVERY = 5.0, 2.0
"""A program that never tells of Celery is looked for by broadcast, from then on and that often (s)."""
LONG_START = 2.0
"""An app that is loaded, but not registered after that many seconds, may be waiting for the broker: look whether it answers."""
ASK_WITHOUT_PONG = 3


@dataclass(slots=True)
class Known:
    """What is remembered between two questions about one run."""

    sentence: str = ""
    """How it was confirmed; empty while it is not."""
    proof: float = 0.0
    """When it last answered."""
    unanswered: int = 0
    node: str = ""
    solo: bool = False
    pings: bool = True
    warm: bool = False
    control: Control | None = None
    looked: float = field(default_factory=time.monotonic)


# What is known of a run goes with its Subject; workers of one broker share a Control, until none of them is left.
_known: WeakKeyDictionary[Subject, Known] = WeakKeyDictionary()
_controls: WeakValueDictionary[Address, Control] = WeakValueDictionary()


async def ask(subject: Subject) -> Answer:
    known = _known.setdefault(subject, Known())
    if ready := _said(subject, "worker_ready"):
        return await _registered(subject, known, ready)
    if known.sentence or not subject.launch.channel:
        return await _unheard(subject, known)
    return await _starting(subject, known)


async def _starting(subject: Subject, known: Known) -> Answer:
    starting = _said(subject, "worker_starting")
    control = _control(subject, known)
    if control and not known.warm and (starting or "--without-mingle" in subject.launch.argv):
        known.warm = True
        threading.Thread(target=control.warm, name="devstack-warm-celery", daemon=True).start()
    if starting:
        why = f"{starting['node']} has loaded its app (pid {starting['pid']}), it is not registered at the broker yet"
        if control and time.monotonic() - _seen(starting) > LONG_START:
            try:
                await in_thread(control.reach)
            except BrokerDown as error:
                return _broker_down(control, error)
            except CannotAsk:
                pass
        return Answer(Health.NOT_YET, why)
    if time.monotonic() - subject.started > UNHEARD_AFTER and time.monotonic() - known.looked > UNHEARD_EVERY:
        known.looked = time.monotonic()
        return await _unheard(subject, known)
    return Answer(Health.NOT_YET, f"the process runs (pid {subject.pid}), no Celery worker registered yet")


async def _registered(subject: Subject, known: Known, ready: dict[str, object]) -> Answer:
    node, pid, pool = str(ready["node"]), ready["pid"], str(ready.get("pool") or "")
    if pid != subject.pid and (pids := await asyncio.to_thread(subject.pids)) and pid not in list(pids):
        return Answer(Health.NOT_YET, f"{node} registered, but its pid {pid} is no process of {subject.process}")
    leaving = subject.beacon.get("worker_leaving")
    if leaving and _seen(leaving) > _seen(ready):
        return Answer(Health.BUSY, f"{node} is leaving ({leaving.get('how')} shutdown)")
    heard = max(known.proof, _seen(ready), _seen(subject.beacon.get("heartbeat")))
    if known.sentence and time.monotonic() - heard < FRESH:
        return Answer(Health.READY, known.sentence)

    known.node, known.solo = node, pool == "solo"
    size = f"{pool} ×{ready['concurrency']}" if pool not in ("", "solo") and "concurrency" in ready else pool
    queues = ",".join(map(str, found)) if isinstance(found := ready.get("queues"), list) else ""
    about = f"{node} registered (" + ", ".join(filter(None, (f"pid {pid}", size, queues and f"queues {queues}"))) + ")"
    control = _control(subject, known)
    if control is None or ready.get("remote_control") is False or not known.pings:
        known.sentence = known.sentence or f"{about}, not pinged: " + (
            "its broker's password is not known here" if control is None else "remote control is off"
        )
        return _believed(subject, known, heard)
    try:
        took = await in_thread(lambda: control.ping(node, PING if known.sentence else FIRST_PINGS))
    except BrokerDown as error:
        return _broker_down(control, error)
    except CannotAsk as error:
        known.pings = False
        known.sentence = f"{about}, not pinged: {error}"
        return Answer(Health.READY, known.sentence)
    if took is not None:
        return _pong(known, about, took)
    if known.sentence:
        return await _no_pong(subject, known, control, heard, pid if isinstance(pid, int) else None)
    known.unanswered += 1
    if known.solo or known.unanswered >= ASK_WITHOUT_PONG:
        # It said itself that it consumes: a backlog may keep it busy from the first moment on.
        known.sentence = f"{about}, no pong yet" + (" (solo: busy)" if known.solo else "")
        return Answer(Health.READY, known.sentence)
    return Answer(Health.NOT_YET, f"{about}, but it does not answer a ping yet")


async def _unheard(subject: Subject, known: Known) -> Answer:
    """A worker without a beacon (docker, a shell script): found by its node name, or by a pid of ours."""
    control = _control(subject, known)
    alive = f"the process runs (pid {subject.pid})"
    if control is None:
        return Answer(Health.NOT_YET, f"{alive}, and no broker is known to ask for its worker")
    try:
        node = known.node or await in_thread(lambda: _node_named(subject.launch.argv))
        waits = PING if known.sentence else FIRST_PINGS
        if node and (took := await in_thread(lambda: control.ping(node, waits))) is not None:
            known.node = node
            return _pong(known, f"{node} registered", took)
        if known.sentence:
            return await _no_pong(subject, known, control, known.proof)
        began = time.monotonic()
        nodes = await in_thread(control.stats)
    except BrokerDown as error:
        return _broker_down(control, error)
    except CannotAsk as error:
        return Answer(Health.NOT_YET, f"{alive}, its worker cannot be asked: {error}")
    pids = await asyncio.to_thread(subject.pids)
    for name, said in nodes.items():
        if said.get("pid") in list(pids):
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


async def _no_pong(subject: Subject, known: Known, control: Control, heard: float, pid: int | None = None) -> Answer:
    """`pid` is the worker's, if it said so itself."""
    silence, unknown = f"{time.monotonic() - heard:.0f} s", ""
    try:
        hears = await in_thread(lambda: control.hears(lambda: ports.connections(pid) if pid else None))
    except BrokerDown as error:
        return _broker_down(control, error)
    except CannotAsk as error:
        hears, unknown = None, f"; whether it is connected cannot be told: {error}"
    if hears is False:
        return Answer(
            Health.NOT_YET,
            f"{known.node} is disconnected: it is not subscribed at {control.address.shown}, and nothing was heard for {silence}",
            "it connects again when its task ends, or else restart it"
            if known.solo
            else "a worker connects again by itself within seconds; if this one does not, restart it",
        )
    if known.solo:
        return Answer(Health.BUSY, f"{known.node} is busy for {silence} (solo: it answers when its task ends){unknown}")
    return Answer(
        Health.NOT_YET,
        f"{known.node} does not answer: no pong, and nothing heard for {silence}{unknown}",
        f"`kill -USR1 {subject.pid}` makes it print what every thread does",
    )


def _believed(subject: Subject, known: Known, heard: float) -> Answer:
    """A worker that cannot be asked; when its heartbeats stop, nothing can be said."""
    silence = time.monotonic() - heard
    if "heartbeat" not in subject.beacon or silence < FRESH:
        return Answer(Health.READY, known.sentence)
    return Answer(Health.UNKNOWN, f"no heartbeat of {known.node} for {silence:.0f} s, and it cannot be pinged")


def _broker_down(control: Control, error: BrokerDown) -> Answer:
    return Answer(Health.UNKNOWN, f"the broker {control.address.shown} does not answer: {error}")


def _control(subject: Subject, known: Known) -> Control | None:
    said = _said(subject, "worker_ready") or _said(subject, "worker_starting")
    address = address_of(subject.broker, said)
    known.control = _controls.setdefault(address, Control(address)) if address else None
    return known.control


def _node_named(argv: tuple[str, ...]) -> str:
    """The node that `-n` names, as Celery itself would expand it; "" when none is named."""
    named = ""
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if word in ("-n", "--hostname"):
            named = following
        elif word.startswith("--hostname="):
            named = word.partition("=")[2]
        elif word.startswith("-n"):
            named = word[2:]
    if not named:
        return ""
    from celery.utils.nodenames import default_nodename, host_format

    return str(host_format(default_nodename(named)))


def _said(subject: Subject, kind: str) -> dict[str, object] | None:
    """The newest message of this type, if it says which worker it is about."""
    message = subject.beacon.get(kind, {})
    return message if {"node", "pid"} <= message.keys() else None


def _seen(message: dict[str, object] | None) -> float:
    return float(message["seen"]) if message else 0.0  # type: ignore[arg-type]
