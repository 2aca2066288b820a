"""Celery's own remote control, on a bare app, for questions about workers: nothing of the project is imported.

Rule 1: everything foreign becomes CannotAsk or BrokerDown here.
Rule 2: the methods of Control block for at most a few seconds; `in_thread` keeps that from the loop, and from the way out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from devstack.core.health import Broker
from devstack.core.secrets import mask

CONTROLLABLE = ("redis", "rediss", "redis+socket", "sentinel", "valkey", "valkeys", "amqp", "amqps", "pyamqp")
"""Transports with remote control; a worker on another one is believed without a ping."""
T = TypeVar("T")


class CannotAsk(Exception):
    """No control message can be sent from here (no such transport, wrong password); says nothing about broker or worker."""


class BrokerDown(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Address:
    """Where the control messages of a worker go."""

    url: str
    exchange: str = "celery"
    options: str = "{}"
    """The transport options, as JSON, so that an Address can be a key."""

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
                limits: dict[str, float] = {"socket_timeout": 2, "socket_connect_timeout": 2, "max_retries": 0}
                limits |= {"interval_start": 0, "interval_step": 0, "interval_max": 0}
                if self.address.url.startswith(("redis", "valkey", "sentinel")):
                    # kombu waits for replies with BRPOP, a second at a time, and finishes the last one before it closes: an unanswered
                    # ping of 50 ms took 1.1 s, and the next one was not heard (kombu 5.7; seen in MONITOR). Redis 6 takes fractions.
                    limits["polling_interval"] = 0.05
                app.conf.update(
                    broker_url=self.address.url,
                    broker_connection_timeout=2,
                    control_exchange=self.address.exchange,
                    broker_transport_options={**json.loads(self.address.options), **limits},
                )
                self._app = app
            return self._app

    def forget(self) -> None:
        with self._lock:
            self._app = None

    def warm(self) -> None:
        """Import and connect ahead of the first question."""
        with contextlib.suppress(CannotAsk, BrokerDown):
            self.reach()

    def reach(self) -> None:
        """Raises BrokerDown when the broker does not take a message (this one is for nobody)."""
        self.talk("ping", destination=["nobody"])

    def ping(self, node: str, waits: tuple[float, ...]) -> float | None:
        """Seconds until the pong of exactly this node; None when none came within the last of the waits."""
        for wait in waits:
            began = time.monotonic()
            if self.talk("ping", destination=[node], reply=True, timeout=wait):
                return time.monotonic() - began
        return None

    def stats(self) -> dict[str, dict[str, Any]]:
        """What every worker on this broker says of itself, by node."""
        replies = self.talk("stats", reply=True, timeout=1.0)
        return {node: said for reply in replies for node, said in reply.items() if isinstance(said, dict)}

    def hears(self, sockets: Callable[[], Mapping[str, int] | None]) -> bool | None:
        """Whether control messages reach the worker with these `sockets` (as `ports.connections` gives them); None when that stays open.

        CannotAsk with brokers that do not tell. A message for nobody says how many take it. It goes the way of all control messages, so
        the database, prefixes and exchange are kombu's business, and it is a whole one: at a broken one every worker reconnects
        (seen with Celery 5.7). PUBSUB NUMSUB is of no use, for kombu subscribes to patterns.
        """
        scheme = self.address.url.partition(":")[0]
        if scheme.startswith("amqp") or scheme == "pyamqp":
            raise CannotAsk(f"{scheme} does not tell who is subscribed")
        return self._with_connection(lambda app, connection: self._hears(connection, sockets))

    def _hears(self, connection: Any, sockets: Callable[[], Mapping[str, int] | None]) -> bool | None:
        from kombu.pidbox import Mailbox

        channel, taken = connection.default_channel, [0]
        acquire = channel.conn_or_acquire

        @contextlib.contextmanager
        def counting(client: Any = None) -> Iterator[Any]:
            with acquire(client) as found:
                publish = found.publish
                found.publish = lambda *words, **more: taken.append(publish(*words, **more))
                yield found

        channel.conn_or_acquire = counting
        mailbox: Any = Mailbox
        mailbox(self.address.exchange, type="fanout", connection=connection).cast(["nobody"], "ping")
        if not sum(taken):
            return False
        if (its := sockets()) is None:
            return None  # Somebody takes it, perhaps another worker.
        if self.address.url.startswith(("redis://", "rediss://")) and (connection.port or 6379) not in its.values():
            return False
        try:
            with acquire() as client:
                known = [each for each in client.client_list() if each.get("addr") in its]
        except connection.channel_errors:
            return None  # An ACL may forbid it.
        # Celery listens to events by a subscription, too; it makes all connections anew when one is lost.
        return any(each.get("psub") not in (None, "0") for each in known) if known else None

    def talk(self, command: str, **options: Any) -> Any:
        """Broadcast a control command."""
        return self._with_connection(
            lambda app, connection: app.control.broadcast(command, connection=connection, **options)
        )

    def _with_connection(self, question: Callable[[Any, Any], T]) -> T:
        """A connection that has gone stale is replaced once."""
        scheme = self.address.url.partition(":")[0]
        if scheme not in CONTROLLABLE:
            raise CannotAsk(f"{scheme} has no remote control")
        for last in (False, True):
            try:
                app = self.app()
                # A connection of its own for each question: what an unanswered one left behind is gone with it.
                with app.connection_for_write() as connection:
                    return question(app, connection)
            except (ImportError, KeyError, ValueError) as error:
                raise CannotAsk(mask(str(error))) from error
            except Exception as error:
                self.forget()
                names = {type(error).__name__, type(error.__cause__).__name__}
                if names & {"AuthenticationError", "AuthorizationError", "NoPermissionError", "AccessRefused"}:
                    raise CannotAsk(mask(str(error))) from error
                if last:
                    raise BrokerDown(mask(str(error)).rstrip(". ")) from error
        raise AssertionError


def address_of(broker: Broker | None, said: dict[str, object] | None) -> Address | None:
    """The worker's own word on its broker wins over what was read from settings; None when its password is not known to us."""
    said = said or {}
    uri = str(said.get("broker") or "")
    known = broker.url if broker else ""
    if not uri or _server(uri) == _server(known):
        url = known
    else:
        try:
            parts = urlsplit(uri)
        except ValueError:
            return None
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        if said.get("has_password"):
            return None
    if not url:
        return None
    options = dict(broker.transport_options) if broker and url == known else {}
    if isinstance(found := said.get("transport_options"), dict):
        options |= found
    exchange = str(said.get("control_exchange") or (broker.control_exchange if broker else "celery"))
    return Address(url, exchange, json.dumps(options, sort_keys=True, default=str))


def _server(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}.get(parts.scheme)
    except ValueError:
        return url, "", None, ""
    host = "127.0.0.1" if parts.hostname in (None, "localhost") else str(parts.hostname)
    return parts.scheme, host, port, parts.path.strip("/") or "0"


async def in_thread(question: Callable[[], T]) -> T:
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
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="devstack-ask-celery", daemon=True).start()
    return await future
