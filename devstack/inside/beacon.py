"""What a Celery worker or beat says about itself, through Celery's own signals: no broker traffic, no polling, no thread.

`boot` runs this file when the program itself has imported `celery.signals`. Tried with Celery 5.2.7, 5.3.6 and 5.7.0.

Rule 1: a receiver never raises, and only the process that `boot` started is heard (its pool children are forks, and silent).
Rule 2: nothing is asked of a broker or a database, and nothing is imported that the program has not imported.

Messages (type: fields), each when the signal of Celery comes:
  worker_starting: pid, node, and the fields about the broker as below. The app is loaded, the broker is next (celeryd_init).
  worker_ready: pid, node, pool, concurrency, queues, broker (password masked), has_password, virtual_host, control_exchange,
    transport_options, remote_control, beside (whether a second one with these options may run at the same time), why (not). It consumes.
  heartbeat: active, processed. Every 2 s while connected.
  worker_leaving: node, how ("warm", "cold"). A shutdown was asked for.
  beat_ready: pid, scheduler. Beat is about to tick.
  beat_tick: next_in (seconds), entries (or null), sent (the last task's name or ""). After a tick.
"""

import os
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OPTIONS = ("global_keyprefix", "sep", "fanout_prefix", "fanout_patterns", "priority_steps", "master_name")
"""The transport options that decide where control messages go. Others may hold passwords."""
POOLS = {"thread": "threads", "asynpool": "prefork"}
WITHOUT_CHILDREN = ("solo", "threads", "gevent", "eventlet")


def attach(channel: "Any", signals: "Any") -> None:
    """Connect to the signals of the module `celery.signals`; `channel.say(type, **fields)` sends a message."""
    say: Callable[..., None] = channel.say
    connect(
        signals.celeryd_init,
        lambda sender, instance=None, **_: say("worker_starting", **starting(sender, instance, channel.node)),
    )
    connect(signals.worker_ready, lambda sender, **_: say("worker_ready", **worker(sender)))
    connect(signals.heartbeat_sent, lambda **_: say("heartbeat", **load()))
    connect(
        signals.worker_shutting_down,
        lambda sender, how="", **_: say("worker_leaving", node=str(sender), how=str(how).lower()),
    )
    connect(signals.beat_init, lambda sender, **_: beat(sender, say, signals))


def connect(signal: "Any", receive: "Callable[..., None]") -> None:
    def receiver(**named: "Any") -> None:
        with suppress(Exception):  # Celery would log it as an error of the project's.
            receive(**named)

    signal.connect(receiver, weak=False)


def starting(node: object, controller: "Any", suffix: str) -> "dict[str, Any]":
    if suffix:
        node = rename(controller, suffix)
    said = {"pid": os.getpid(), "node": str(node)}
    with suppress(Exception):
        said.update(broker(controller.app, controller.app.connection_for_read()))
    return said


def rename(controller: "Any", suffix: str) -> str:
    """`worker.1@host` → `worker.1-b@host`: two workers of one name would not tell their control commands and heartbeats apart."""
    name, at, host = controller.hostname.partition("@")
    controller.hostname = f"{name}-{suffix}{at}{host}"
    told: Any = sys.modules["celery.app.trace"]
    if told._localized:  # What tasks see as their request's hostname; Celery has set it just before this signal.
        told._localized[1] = controller.hostname
    return str(controller.hostname)


def alone(consumer: "Any") -> "str | None":
    """Why a second worker with the same options must not run at the same time, or None. `worker.py` refuses by the last two."""
    controller = consumer.controller
    if controller.pidfile:
        return "its pid file (--pidfile) allows one worker at a time"
    if controller.statedb:
        return "its state file (--statedb) cannot be shared"
    if controller.beat:
        return "it contains beat (-B), and two would send every periodic task twice"
    if controller.app.conf.worker_direct:
        return "its direct queue (worker_direct) is named after the node"
    if consumer.connection.transport.driver_type not in ("redis", "amqp"):
        return "messages cannot be given back safely to its broker"
    pool = pool_name(consumer.pool)
    if pool not in WITHOUT_CHILDREN and not (pool == "prefork" and consumer.hub is not None):
        return "tasks cannot be taken back safely from its pool"
    return None


def worker(consumer: "Any") -> "dict[str, Any]":
    app, said = consumer.app, {"pid": os.getpid(), "node": consumer.hostname}
    said.update(broker(app, consumer.connection))
    return read(
        said,
        pool=lambda: pool_name(consumer.pool),
        concurrency=lambda: consumer.controller.concurrency,
        queues=lambda: list(app.amqp.queues.consume_from),
        remote_control=lambda: bool(app.conf.worker_enable_remote_control),
        beside=lambda: alone(consumer) is None,
        why=lambda: alone(consumer),
    )


def broker(app: "Any", connection: "Any") -> "dict[str, Any]":
    """Where control messages go. The password stays here."""
    return read(
        {},
        broker=connection.as_uri,
        has_password=lambda: bool(connection.password),  # Newer kombu writes ":**@" in any case.
        virtual_host=lambda: connection.virtual_host,
        control_exchange=lambda: app.conf.control_exchange,
        transport_options=lambda: {k: v for k, v in app.conf.broker_transport_options.items() if k in OPTIONS},
    )


def read(said: "dict[str, Any]", **fields: "Callable[[], Any]") -> "dict[str, Any]":
    """One by one: an unknown version of Celery costs a field, not the message."""
    for name, look in fields.items():
        said[name] = None
        with suppress(Exception):
            said[name] = look()
    return said


def pool_name(pool: "Any") -> str:
    last = type(pool).__module__.rsplit(".", 1)[-1]
    return POOLS.get(last, last)


def load() -> "dict[str, Any]":
    state = sys.modules.get("celery.worker.state")
    if state is None:
        return {}
    return {"active": len(state.active_requests), "processed": state.all_total_count[0]}


def beat(service: "Any", say: "Callable[..., None]", signals: "Any") -> None:
    """Follow the ticks of this one scheduler: `tick` is shadowed on the instance, whatever its class."""
    scheduler = service.scheduler
    say("beat_ready", pid=os.getpid(), scheduler=type(scheduler).__module__ + ":" + type(scheduler).__name__)
    tick = scheduler.tick
    sent = [""]
    said = [0.0]

    def tell(next_in: "Any") -> None:
        with suppress(Exception):
            if not isinstance(next_in, (int, float)):
                next_in = 0
            now = time.monotonic()
            # A tick sends one task and asks to be called at once: a hundred due tasks need not be a hundred messages.
            if next_in > 0 or now - said[0] > 1:
                said[0] = now
                say("beat_tick", next_in=next_in, entries=count(scheduler), sent=sent[0])

    def watched(*args: "Any", **named: "Any") -> "Any":
        next_in = tick(*args, **named)
        tell(next_in)
        return next_in

    def published(sender: object = None, **_: object) -> None:
        sent[0] = str(sender)

    connect(signals.after_task_publish, published)
    scheduler.tick = watched


def count(scheduler: "Any") -> "int | None":
    """How many entries are scheduled. The heap, never `.schedule`: a DatabaseScheduler asks its database for that one."""
    heap = getattr(scheduler, "_heap", None)
    return len(heap) if isinstance(heap, list) else None
