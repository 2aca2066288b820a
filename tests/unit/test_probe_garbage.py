"""What a program tells through its channel may be anything that JSON can say; no probe breaks at it."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from devstack.core.health import Answer, Broker, Subject
from devstack.core.model import Launch
from devstack.probes import beat, celery, log
from devstack.probes.control import Control, address_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
URLS = st.sampled_from(
    [
        "redis://[",
        "redis://h:x/0",
        "redis://",
        "://",
        "redis://h:99999999/a/b",
        "redis://%zz@[::1",
        "amqp://[::1",
        "\ud800://",
    ]
)


def message(*fields: str) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(fields, ANYTHING))


WORKER = st.fixed_dictionaries(
    {"node": ANYTHING, "pid": ANYTHING | st.just(7)},
    optional={
        "broker": URLS | ANYTHING,
        **dict.fromkeys(("pool", "concurrency", "queues", "has_password", "transport_options"), ANYTHING),
        **dict.fromkeys(("control_exchange", "remote_control", "beside", "why"), ANYTHING),
    },
)
BEACON = st.fixed_dictionaries(
    {},
    optional={
        "beat_tick": message("next_in", "entries", "sent"),
        "beat_ready": message("scheduler"),
        "worker_starting": WORKER | message("node", "pid"),
        "worker_ready": WORKER | message("node", "pid"),
        "worker_leaving": message("node", "how"),
        "heartbeat": message("active", "processed"),
        "hello": message("pid"),
        log.PRINTED: message("text"),
    },
)
AGES = st.sampled_from([0.0, 5.0, 60.0])


def subject(said: dict[str, dict[str, object]], age: float, broker: Broker | None) -> Subject:
    now = time.monotonic()
    beacon = {kind: {**fields, "seen": now - age} for kind, fields in said.items()}
    return Subject("it.1", 1, 7, Launch((), {}, ".", channel=True), now - age, broker, beacon, pids=lambda: {7})


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker is asked: where a garbage address leads is nobody's business, and slow."""
    monkeypatch.setattr(Control, "_with_connection", lambda self, question: None)
    monkeypatch.setattr(Control, "hears", lambda self, sockets: None)
    monkeypatch.setattr(Control, "stats", lambda self: {"w@h": {"pid": []}})


@pytest.mark.usefixtures("silent")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BEACON, AGES, st.none() | (URLS | st.just("redis://127.0.0.1:1/0")).map(lambda url: Broker(url, "test")))
@example({"beat_tick": {"next_in": float("inf")}}, 0.0, None)
@example({"beat_tick": {"next_in": float("nan")}}, 0.0, None)
@example({"beat_tick": {"next_in": 10**400, "entries": "x"}}, 0.0, None)
@example({"beat_tick": {"next_in": True, "entries": []}}, 0.0, None)
@example({"worker_ready": {"node": "w@h", "pid": []}}, 0.0, None)
@example({"worker_ready": {"node": "w@h", "pid": 7, "broker": "redis://["}}, 60.0, None)
@example({log.PRINTED: {}}, 0.0, None)
def test_no_probe_breaks_at_what_a_program_says(
    said: dict[str, dict[str, object]], age: float, broker: Broker | None
) -> None:
    async def ask() -> None:
        it = subject(said, age, broker)
        for question in (beat.ask(it), celery.ask(it), celery.ask(it), log.ask(it, "ready")):
            answer = await question
            assert isinstance(answer, Answer)
            assert answer.why

    asyncio.run(ask())


@settings(max_examples=100, deadline=None)
@given(URLS | ANYTHING, ANYTHING)
def test_an_address_comes_of_anything_or_does_not(broker: object, options: object) -> None:
    address = address_of(None, {"broker": broker, "transport_options": options})
    assert address is None or hash(address)
    if address:
        assert address.shown


@pytest.mark.parametrize(
    "url", ["redis://h:x/0", "redis://%zz", "\ud800://", "redis://127.0.0.1:1/garbage", "http://h"]
)
def test_a_garbage_broker_cannot_be_asked_and_says_why(url: str) -> None:
    it = subject({"worker_ready": {"node": "w@h", "pid": 7, "broker": url}}, 0.0, None)
    answer = asyncio.run(celery.ask(it))
    assert answer.why
