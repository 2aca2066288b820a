"""Orders that a running Celery worker obeys: stop taking tasks, take them again, finish and leave.

`boot` runs this file when the program has imported `celery.apps.worker`. Written for Celery 5.2 to 5.7 with a Redis or AMQP broker; where
tasks could be lost or doubled it says `cannot` and changes nothing.

Rule 1: what runs, runs on. What was fetched and has not started goes back to the broker, to where it would be fetched next, so that no
        task starts on old code after `quiesce`; each message is either started or given back, never both (see `Claim`, and `give_back`).
Rule 2: kombu is used in the thread that owns it. A worker with an event loop reads orders there; one without (Windows, gevent, eventlet)
        has a thread or greenlet that sleeps in `select`, shuts the gate at once, and wakes the loop, which obeys.
Rule 3: nothing here raises into the worker, and an idle worker pays nothing.

Order (answer: fields):
  quiesce (quiesced: active, reserved, returned): takes no more tasks. `reserved` were on their way into a child when the order came and
    start at once; `returned` went back to the broker. Control commands, heartbeats and acknowledgements go on.
  resume (resumed): takes tasks again.
  leave (quiesced when it was not yet; drained: finished; then worker_leaving): waits until nothing is active and every acknowledgement is
    with the broker, then one warm shutdown.
  requeue (requeued: returned, lost, exits): after one of the above, for tasks that outlast the grace. Those acknowledged late go back to
    the broker; `lost` names those acknowledged early, which nobody can give back. `exits`: a prefork worker ends by itself now, by
    Celery's own cold shutdown (from 5.5 on its soft one, which waits `worker_soft_shutdown_timeout` first). In other pools Celery cannot
    stop a task, or loses it when it does (gevent and eventlet acknowledge a killed one): kill such a worker at once, its tasks may run
    elsewhere already.
  status (active: tasks, as [name, seconds], the longest first).
  Any of them: cannot: order, why.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

AT_ONCE = 100
"""Messages given back in one turn of the loop, about 0.3 ms each: thousands of countdown tasks must not stop the heartbeat."""
LOOK_EVERY = 0.05
"""Seconds between looks of a held-back worker that has no event loop."""
POOLS = {"solo", "thread", "gevent", "eventlet"}
"""The modules of Celery's pools that run tasks in this process."""


def attach(channel: "Any", apps_worker: "Any") -> None:
    def ready(sender: "Any" = None, **_: object) -> None:
        with suppress(Exception):  # Celery would log it as an error of the project's.
            Worker(channel, sender).listen()

    apps_worker.signals.worker_ready.connect(ready, weak=False)


class Worker:
    """One worker's consumer under orders. `shut`: nothing may start; `quiet`: the broker gives us nothing any more."""

    def __init__(self, channel: "Any", consumer: "Any") -> None:
        self.channel, self.consumer = channel, consumer
        self.state: Any = sys.modules["celery.worker.state"]
        self.hub = consumer.hub
        self.shut = self.quiet = self.leaving = self.starting = False
        self.unobeyed: list[str] = []
        self.returned = self.running = self.idle = 0
        self.returning: list[Any] = []
        self.take: Any = None
        self.waiting: dict[int, Any] = {}
        self.guard_pool()

    # Reading

    def listen(self) -> None:
        """Now, and again after each reconnect, for which Celery makes a new task consumer and a new poller."""
        on_ready = self.consumer.on_ready

        def again() -> None:
            on_ready()
            with suppress(Exception):
                self.follow()
                if self.quiet:
                    self.hush()

        self.consumer.on_ready = again
        self.follow()
        if self.hub is None:
            from threading import Thread  # A greenlet, in a program that gevent or eventlet has patched.

            Thread(target=self.wait_for_orders, name="devstack orders", daemon=True).start()

    def follow(self) -> None:
        if self.hub is not None:
            self.hub.add_reader(self.channel.descriptor, self.read)
            return
        # Without an event loop Celery blocks in here, two seconds at a time.
        connection = self.consumer.connection
        owner, name = (connection.transport.cycle, "get") if self.redis() else (connection, "drain_events")
        inner = getattr(owner, name)

        def turn(*words: object, **named: object) -> object:
            if self.work_off() or self.left():
                raise TimeoutToCelery
            if self.shut:
                named["timeout"] = LOOK_EVERY
            return inner(*words, **named)

        setattr(owner, name, turn)

    def read(self) -> None:
        try:
            self.unobeyed += self.orders()
        except Exception:  # The supervisor is gone, or the program closed the line: an end that is readable for ever.
            self.hub.remove(self.channel.descriptor)
        # In the next turn: in this one kombu may have been promised an answer to its BRPOP, and would wait for the one that we read.
        self.hub.call_soon(self.work_off)

    def orders(self) -> "list[str]":
        """What has come; nothing starts any more when a `quiesce` or `leave` is among it."""
        orders = [words[0] for words, _ in self.channel.receive() if words]
        self.shut = self.shut or "quiesce" in orders or "leave" in orders
        return orders

    def wait_for_orders(self) -> None:
        """In a thread of its own: only what kombu allows there. The loop may be inside a task, or asleep."""
        with suppress(Exception):
            while True:
                select.select([self.channel.descriptor], [], [])
                for order in self.orders():
                    if order in ("status", "requeue"):
                        self.obey(order)
                    else:
                        self.unobeyed.append(order)
                if self.shut and not self.quiet:
                    with suppress(Exception):
                        for request in self.claimed() if self.redis() else ():
                            self.returned += 1
                            self.give_back(request)
                        if self.starting:  # Nothing is fetched before it ends: the rest can wait.
                            self.tell_quiesced()
                        elif self.redis():
                            self.wake()

    def wake(self) -> None:
        """Get the loop out of its sleep, from outside: what it waits for is answered, with nothing in it."""
        self.end_fetch(wait=False)
        channel = self.consumer.task_consumer.channel
        with channel.conn_or_acquire() as client:
            client.publish(channel._get_publish_topic(self.consumer.app.control.mailbox.exchange.name, ""), "")

    def work_off(self) -> bool:
        orders = bool(self.unobeyed)
        while self.unobeyed:
            self.obey(self.unobeyed.pop(0))
        return orders

    def obey(self, order: str) -> None:
        try:
            if order not in ("quiesce", "resume", "leave", "requeue", "status"):
                raise Cannot("no such order")
            getattr(self, order)()
        except Exception as error:
            self.channel.say("cannot", order=order, why=str(error) or type(error).__name__)
            if order in ("quiesce", "leave") and not self.quiet:
                with suppress(Exception):
                    self.open()

    # Obeying

    def quiesce(self) -> None:
        if not self.quiet:
            self.refuse_if_unsafe()
            self.shut = True
            self.hush()
            try:
                for request in self.not_started():
                    self.returning.append(request)
                    self.returned += 1
            finally:
                delivered = getattr(getattr(self.consumer.task_consumer.channel, "qos", None), "_delivered", ())
                order = {tag: at for at, tag in enumerate(list(delivered))}
                self.returning.sort(key=lambda request: order.get(request._message.delivery_tag, 0))
                self.give_back_some()
            self.quiet = True
        self.tell_quiesced()

    def tell_quiesced(self) -> None:
        active = set(self.state.active_requests)
        reserved = set(self.state.reserved_requests) - active
        self.running = max(self.running, len(active) + len(reserved))
        self.channel.say("quiesced", active=len(active), reserved=len(reserved), returned=self.returned)

    def resume(self) -> None:
        self.open()
        self.channel.say("resumed")

    def leave(self) -> None:
        if not self.quiet:
            self.quiesce()
        self.leaving = True
        if self.hub is not None:
            self.hub.on_tick.add(self.left)

    def requeue(self) -> None:
        if not self.shut:
            raise Cannot("the worker still takes tasks, and would take these again")
        self.leaving = False
        late, lost = [], []
        for request in list(self.state.active_requests):
            if request.task.acks_late and not request.acknowledged:
                late.append(request)
            else:
                lost.append(request.name)
        quit_signal = getattr(signal, "SIGQUIT", 0)
        exits = self.pool() == "prefork" and quit_signal > 0
        for request in late:
            if not exits:
                self.give_back(request)
            elif not hasattr(self.consumer, "cancel_active_requests"):
                # Before 5.5 a cold shutdown lets the killed child count as a failed task, and acknowledges it.
                request.acknowledged = True
                with suppress(AttributeError):
                    request._apply_result()._error_callback = None
        self.channel.say("requeued", returned=len(late), lost=sorted(lost), exits=exits)
        if exits:
            os.kill(os.getpid(), quit_signal)

    def status(self) -> None:
        now = time.time()
        running = [[r.name, round(now - (r.time_start or now), 1)] for r in list(self.state.active_requests)]
        self.channel.say("active", tasks=sorted(running, key=lambda task: -task[1]))

    def left(self) -> bool:
        """Once nothing is active and nothing is on its way to the broker: the warm shutdown. In the loop, after each turn of it."""
        state, consumer = self.state, self.consumer
        busy = self.returning or state.active_requests or state.reserved_requests or consumer._pending_operations
        if not self.leaving or busy or (self.hub is not None and self.hub._ready):
            self.idle = 0
            return False
        self.idle += 1
        if self.idle < 2 and (self.pool() == "thread" or not hasattr(self.hub or Worker, "_pop_ready")):
            # A thread acknowledges after the task has left `active_requests`; kombu before 5.3 does what is due after this look.
            with suppress(AttributeError):
                self.hub._waker.wake()
            return False
        self.leaving = False
        self.channel.say("drained", finished=self.running)
        sys.modules["celery.signals"].worker_shutting_down.send(
            sender=consumer.hostname, sig="SIGTERM", how="Warm", exitcode=0
        )
        state.should_stop = 0
        if self.hub is not None:
            state.maybe_shutdown()  # As `celery control shutdown` does; else the loop would sleep for up to a second first.
        return True

    # Taking

    def pool(self) -> str:
        return str(type(self.consumer.pool).__module__).rsplit(".", 1)[-1]

    def redis(self) -> bool:
        return bool(self.consumer.connection.transport.driver_type == "redis")

    def refuse_if_unsafe(self) -> None:
        transport = self.consumer.connection.transport
        if transport.driver_type not in ("redis", "amqp"):
            raise Cannot(f"messages cannot be given back safely to a broker of the kind {transport.driver_type}")
        if self.pool() == "prefork":
            if self.hub is None:
                raise Cannot("the prefork pool runs without Celery's event loop here")
        elif self.pool() not in POOLS:
            raise Cannot(f"the pool {type(self.consumer.pool).__module__} is not one of Celery's")

    def hush(self) -> None:
        consumer = self.consumer.task_consumer
        if consumer.on_message != self.refuse:
            self.take = consumer.on_message
        consumer.on_message = self.refuse
        if self.redis():
            self.end_fetch()
        consumer.cancel()

    def open(self) -> None:
        self.shut = self.quiet = self.leaving = False
        self.returned = self.running = 0
        consumer = self.consumer.task_consumer
        if consumer.on_message == self.refuse:
            consumer.on_message = self.take
            consumer.consume()

    def refuse(self, message: "Any") -> None:
        """What comes after the order: it was on its way, or somebody added a queue."""
        restore(message)
        self.returned += 1
        if self.quiet:
            self.consumer.task_consumer.cancel()

    def end_fetch(self, wait: bool = True) -> None:
        """The BRPOP that is under way would still take a message, up to a second from now: end it, and read its answer.

        Where the server does not let us, kombu puts the message back itself.
        """
        channel = self.consumer.task_consumer.channel
        connection = channel._in_poll
        if not connection:
            return
        with suppress(Exception), channel.conn_or_acquire() as client:
            number = client_id(connection, client)
            for _ in range(10):
                client.client_unblock(number)
                if not wait:
                    return
                if connection.can_read(timeout=0.002):  # Else the order overtook the BRPOP on its way to the server.
                    channel._brpop_read()
                    return

    def not_started(self) -> "Iterator[Any]":
        """The requests that were fetched and have not started, taken out of every place where one waits."""
        consumer, controller = self.consumer, self.consumer.controller
        yield from self.claimed()
        for waiting in list(consumer.timer.schedule.queue):
            request = (list(waiting.entry.args) or [None])[0]
            if hasattr(request, "execute_using_pool"):
                consumer.timer.cancel(waiting if hasattr(waiting, "kill") else waiting.entry)
                consumer.qos.decrement_eventually()
                yield request
        for bucket in consumer.task_buckets.values():
            while bucket and bucket.contents:
                yield bucket.contents.popleft()[0]
        if self.pool() == "prefork":
            semaphore = controller.semaphore
            for waiter in list(semaphore._waiting):
                semaphore._waiting.remove(waiter)
                yield waiter[1][0]
            # No child has been sent these yet. What is in a child's pipe starts at once: there is one for each free child.
            pool = consumer.pool._pool
            for job in list(pool.outbound_buffer):
                request = getattr(job._accept_callback, "__self__", None)
                if request is not None and not job._accepted:
                    pool.outbound_buffer.remove(job)
                    job.discard()
                    semaphore.release()
                    yield request

    def give_back_some(self) -> None:
        for _ in range(min(AT_ONCE, len(self.returning))):
            self.give_back(self.returning[-1])  # The newest first: each one goes in front of those before.
            del self.returning[-1]
        if self.returning:
            self.consumer.call_soon(self.give_back_some)

    def give_back(self, request: "Any") -> None:
        restore(request._message)
        request.acknowledged = True
        self.state.task_ready(request)

    # The pools that run tasks in this process

    def guard_pool(self) -> None:
        """Between Celery and such a pool: nothing is started after an order, and what waits in the pool can be taken back."""
        pool = self.consumer.pool
        if self.pool() not in POOLS:
            return
        start, alone = pool.on_apply, self.pool() == "solo"

        def on_apply(target: "Any", args: "Any" = None, kwargs: "Any" = None, **named: "Any") -> object:
            request = getattr(named.get("accept_callback"), "__self__", None)
            if request is None:
                return start(target, args, kwargs, **named)
            if alone and self.hub is not None and not self.shut:
                with suppress(Exception):  # The loop was in a task, and might read an order after this message.
                    self.unobeyed += self.orders()
                if self.unobeyed:
                    self.hub.call_soon(self.work_off)
            if self.shut:
                self.returned += 1
                self.give_back(request)
                return None
            if not alone:
                claim = Claim(self.waiting, request, target, named)
                target, named = claim.run, dict(named, accept_callback=claim.accept, callback=claim.done)
            self.starting = True  # For as long as the task in a solo worker, and while a greenlet pool is full.
            try:
                return start(target, args, kwargs, **named)
            finally:
                self.starting = False

        pool.on_apply = on_apply

    def claimed(self) -> "Iterator[Any]":
        for key in list(self.waiting):
            request = self.waiting.pop(key, None)
            if request is not None:
                yield request


class Claim:
    """A task that waits in the pool. Whoever takes it out of `waiting` has it: the pool, to start it, or we, to give it back."""

    def __init__(self, waiting: "dict[int, Any]", request: "Any", target: "Any", named: "dict[str, Any]") -> None:
        self.waiting, self.request, self.target = waiting, request, target
        self.accept_callback, self.callback = named["accept_callback"], named["callback"]
        self.ours = False
        waiting[id(request)] = request

    def accept(self, *words: object) -> None:
        self.ours = self.waiting.pop(id(self.request), None) is not None
        if self.ours:
            self.accept_callback(*words)

    def run(self, *args: object, **named: object) -> object:
        return self.target(*args, **named) if self.ours else None

    def done(self, outcome: object) -> None:
        if self.ours:
            self.callback(outcome)


class Cannot(Exception):
    pass


TimeoutToCelery = sys.modules["socket"].timeout


def restore(message: "Any") -> None:
    """Give one message back. kombu's own `requeue` would put it behind all others of a Redis list."""
    if message.acknowledged:
        return
    qos: Any = getattr(message.channel, "qos", None)
    if hasattr(qos, "restore_by_tag"):
        # One transaction; without effect when the message is not ours any more.
        qos.restore_by_tag(message.delivery_tag)
        qos._quick_ack(message.delivery_tag)
        message._state = "REQUEUED"
    else:
        message.requeue()


def client_id(connection: "Any", client: "Any") -> "Callable[..., Any] | int":
    """The server's number for that connection: RESP3 has told it; else our end of it is looked for."""
    told = getattr(connection, "handshake_metadata", None)
    for key in (b"id", "id"):
        if isinstance(told, dict) and key in told:
            return int(told[key])
    host, port = connection._sock.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return next(int(each["id"]) for each in client.client_list() if each.get("addr") == address)
