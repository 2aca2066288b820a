"""Orders that a real worker obeys: nothing is lost, doubled or started late, told by a ledger in Redis."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ledger
from tests.support.celery_project import Booted
from tests.support.redis_server import Server, eventually, redis_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="prefork and descriptors")

needs_gevent = pytest.mark.skipif(not importlib.util.find_spec("gevent"), reason="gevent is not installed")
needs_eventlet = pytest.mark.skipif(not importlib.util.find_spec("eventlet"), reason="eventlet is not installed")

POOLS = [
    pytest.param("prefork", True, id="prefork"),
    pytest.param("solo", True, id="solo"),
    pytest.param("threads", True, id="threads"),
    pytest.param("solo", False, id="solo as on Windows"),
    pytest.param("threads", False, id="threads as on Windows"),
    pytest.param("gevent", True, id="gevent", marks=needs_gevent),
    pytest.param("eventlet", True, id="eventlet", marks=needs_eventlet),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_server() as running:
        yield running


def queued(server: Server) -> int:
    return int(server.command("LLEN", "celery").strip(":"))


def quiesced(run: Booted, book: ledger.Book) -> int:
    """Quiesce; how many tasks may still start, as they were on their way to a child."""
    run.order("quiesce")
    said = run.message("quiesced")
    book.mark("quiesced")
    return int(str(said["active"])) + int(str(said["reserved"]))


def wait_until_said(run: Booted, kind: str, times: int) -> None:
    eventually(lambda: len(run.said(kind)) >= times, f"{kind} for the {times}th time; {run.messages[-3:]}")


@pytest.mark.parametrize(("pool", "event_loop"), POOLS)
def test_a_reload_in_full_flow_loses_and_doubles_nothing(
    tmp_path: Path, server: Server, pool: str, event_loop: bool
) -> None:
    book = ledger.make(tmp_path, server, event_loop=event_loop)
    with book.worker("old", "-P", pool) as old:
        old.message("worker_ready")
        ids = book.send(
            "[task.delay(0.02) for n in range(8) for task in (note, late)]",
            "[task.delay(0.3) for task in (note, late)]",
            "[task.apply_async(countdown=1) for n in range(2) for task in (note, late)]",
            "[slowly.delay() for n in range(3)]",
            "(lambda whole: [whole, *whole.parent])(chord([note.s(0.1), late.s(0.1), note.s()])(total.s()))",
            "(lambda result: [result, result.id + '.1'])(note.delay(0, True))",
        )
        book.wait_for_starts(3)
        on_their_way = quiesced(old, book)
        with book.worker("new", "-P", pool, node="b") as new:
            later = book.send("[note.delay() for n in range(10)]")
            new.message("worker_ready")
            old.order("leave")
            old.message("drained")
            assert old.message("worker_leaving")["how"] == "warm"
            assert old.process.wait(20) == 0
            book.wait_for_ends(ids + later)
            assert book.doubled() == []
            old_code = set(book.started("old"))
            assert old_code.isdisjoint(later)
            assert sum(line[0] == "start" and line[2] == "old" for line in book.after("quiesced")) <= on_their_way
            assert old_code == {line[1] for line in book.lines() if line[0] == "end" and line[2] == "old"}
            eventually(lambda: server.command("HLEN", "unacked") == ":0", "acknowledgement of everything")
            assert queued(server) == 0
            assert old.garbage == new.garbage == []


@pytest.mark.parametrize(("pool", "event_loop"), POOLS)
def test_a_quiesced_worker_leaves_tasks_in_the_queue_and_takes_them_after_resume(
    tmp_path: Path, server: Server, pool: str, event_loop: bool
) -> None:
    book = ledger.make(tmp_path, server, event_loop=event_loop)
    with book.worker("old", "-P", pool) as old:
        assert old.message("worker_ready")["beside"] is True
        early = book.send("[note.apply_async(countdown=3600), slowly.delay()]")
        book.wait_for_ends(early[1:])
        assert quiesced(old, book) == 0
        ids = book.send("[note.delay() for n in range(5)]")
        assert queued(server) == 6
        assert book.after("quiesced") == []
        old.order("quiesce")  # Again: nothing changes.
        old.order("resume")
        old.message("resumed")
        book.wait_for_ends(ids)
        assert book.doubled() == []
        assert [message["returned"] for message in old.said("quiesced")] == [1, 1]
        assert old.said("cannot") == []


def test_orders_in_quick_succession_lose_and_double_nothing(tmp_path: Path, server: Server) -> None:
    order_in_quick_succession(ledger.make(tmp_path, server), tasks=120, turns=40)


@pytest.mark.parametrize("words", [[], ["--max-tasks-per-child=5"], ["--autoscale=4,1"]], ids=" ".join)
@pytest.mark.parametrize("acks_late", [False, True], ids=["acks early", "acks late"])
@pytest.mark.parametrize(("pool", "event_loop"), POOLS)
@pytest.mark.soak
def test_many_orders_in_quick_succession_lose_and_double_nothing(
    tmp_path: Path, server: Server, pool: str, event_loop: bool, acks_late: bool, words: list[str]
) -> None:
    if words and pool != "prefork":
        pytest.skip("an option of prefork")
    book = ledger.make(tmp_path, server, acks_late=acks_late, event_loop=event_loop)
    order_in_quick_succession(book, "-P", pool, *words, tasks=600 if event_loop else 60, turns=100)


def order_in_quick_succession(book: ledger.Book, *words: str, tasks: int, turns: int) -> None:
    with book.worker("old", *words) as old:
        old.message("worker_ready")
        ids = book.send(
            f"[note.delay() for n in range({tasks})]",
            f"[note.apply_async(countdown=n / 100) for n in range({tasks // 6})]",
            "[slowly.delay() for n in range(4)]",
        )
        for turn in range(1, turns + 1):
            old.order("quiesce")
            wait_until_said(old, "quiesced", turn)
            old.order("resume")
            wait_until_said(old, "resumed", turn)
        book.wait_for_ends(ids, within=60)
        assert book.doubled() == []
        eventually(lambda: book.server.command("HLEN", "unacked") == ":0", "acknowledgement of everything")
        assert old.said("cannot") == []


@pytest.mark.parametrize(("pool", "event_loop"), POOLS)
def test_tasks_that_wait_for_their_time_or_rate_run_on_the_new_code(
    tmp_path: Path, server: Server, pool: str, event_loop: bool
) -> None:
    book = ledger.make(tmp_path, server, event_loop=event_loop)
    with book.worker("old", "-P", pool) as old:
        old.message("worker_ready")
        ids = book.send("[note.apply_async(countdown=5) for n in range(3)] + [slowly.delay() for n in range(12)]")
        timed, limited = ids[:3], ids[3:]
        eventually(lambda: queued(server) == 0 and set(book.started()) & set(limited), "a worker that holds them all")
        old.order("quiesce")
        returned = int(str(old.message("quiesced")["returned"]))
        assert returned == queued(server)
        assert returned > len(timed), "of both kinds"
        with book.worker("new", "-P", pool, node="b") as new:
            new.message("worker_ready")
            book.wait_for_ends(ids)
            old.order("status")
            old.message("active")
            assert len(set(book.started("old"))) == len(ids) - returned
            assert book.doubled() == []


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_is_given_back_is_next_in_its_old_order(tmp_path: Path, server: Server, pool: str) -> None:
    book = ledger.make(tmp_path, server)
    with book.worker("old", "-P", pool) as old:
        old.message("worker_ready")
        ids = book.send("[note.delay(30) for n in range(12)]")
        book.wait_for_starts(2)
        old.order("quiesce")
        assert old.message("quiesced")["active"] == 2
        import redis

        with redis.Redis.from_url(server.url) as client:
            waiting = [json.loads(message)["headers"]["id"] for message in client.lrange("celery", 0, -1)]
        assert waiting[::-1] == ids[2:]


@pytest.mark.parametrize(
    "pool",
    [
        "threads",
        pytest.param("gevent", marks=needs_gevent),
        pytest.param("eventlet", marks=needs_eventlet),
    ],
)
def test_a_pool_that_cannot_stop_a_task_gives_it_back_before_the_worker_is_killed(
    tmp_path: Path, server: Server, pool: str
) -> None:
    book = ledger.make(tmp_path, server)
    with book.worker("old", "-P", pool) as old:
        old.message("worker_ready")
        book.send("[late.delay(60), note.delay(60)]")
        book.wait_for_starts(2)
        old.order("requeue")
        assert "still takes tasks" in str(old.message("cannot")["why"])
        old.order("leave")
        old.message("quiesced")
        old.order("requeue")
        said = old.message("requeued")
        assert (said["returned"], said["lost"], said["exits"]) == (1, ["shop.note"], False)
        assert server.command("HLEN", "unacked") == ":0"
        old.stop(signal.SIGKILL)
        assert queued(server) == 1


def test_a_worker_without_an_event_loop_is_quiesced_in_the_middle_of_a_task(tmp_path: Path, server: Server) -> None:
    book = ledger.make(tmp_path, server, event_loop=False, acks_late=True)
    with book.worker("old", "-P", "solo") as old:
        old.message("worker_ready")
        ids = book.send("[note.delay(30), note.delay()]")
        book.wait_for_starts(1)
        old.order("quiesce")
        assert old.message("quiesced")["active"] == 1
        old.order("status")
        [[name, seconds]] = old.message("active")["tasks"]  # type: ignore[misc]
        assert (name, 0 <= seconds < 30) == ("shop.note", True)
        old.order("requeue")
        said = old.message("requeued")
        assert (said["returned"], said["lost"], said["exits"]) == (1, [], False)
        old.stop(signal.SIGKILL)
        with book.worker("new", "-P", "solo") as new:
            new.message("worker_ready")
            book.wait_for_starts(1, "new")
            assert book.started("new") == ids[:1]


@pytest.mark.parametrize("acks_late", [False, True], ids=["acks early", "acks late"])
def test_a_task_that_outlasts_the_grace_goes_back_if_it_is_acknowledged_late(
    tmp_path: Path, server: Server, acks_late: bool
) -> None:
    book = ledger.make(tmp_path, server, acks_late=acks_late)
    with book.worker("old", "-P", "prefork") as old:
        old.message("worker_ready")
        book.send("[note.delay(60)]")
        book.wait_for_starts(1)
        old.order("leave")
        assert old.message("quiesced")["returned"] == 0
        old.order("requeue")
        said = old.message("requeued")
        assert (said["returned"], said["lost"]) == ((1, []) if acks_late else (0, ["shop.note"]))
        assert said["exits"] is True
        assert old.process.wait(20) is not None
        assert queued(server) == (1 if acks_late else 0)
        assert server.command("HLEN", "unacked") == ":0"


def test_a_server_that_forbids_to_end_a_fetch_costs_nothing_but_order(tmp_path: Path) -> None:
    with redis_server(conf='rename-command CLIENT ""') as strict:
        book = ledger.make(tmp_path, strict)
        with book.worker("old", "-P", "prefork") as old:
            old.message("worker_ready")
            assert quiesced(old, book) == 0
            ids = book.send("[note.delay() for n in range(3)]")
            eventually(lambda: queued(strict) == 3, "messages back in the queue")
            assert book.started() == []
            old.order("resume")
            book.wait_for_ends(ids)
            assert book.doubled() == []


def test_leaving_waits_for_the_running_task_and_its_acknowledgement(tmp_path: Path, server: Server) -> None:
    book = ledger.make(tmp_path, server, acks_late=True)
    with book.worker("old", "-P", "threads") as old:
        old.message("worker_ready")
        ids = book.send("[note.delay(2)]")
        book.wait_for_starts(1)
        old.order("leave")
        assert old.message("drained")["finished"] == 1
        assert [line[1] for line in book.lines() if line[0] == "end"] == ids
        assert server.command("HLEN", "unacked") == ":0"
        assert old.process.wait(20) == 0


def test_a_quiesced_worker_that_loses_its_broker_stays_quiesced(tmp_path: Path, server: Server) -> None:
    book = ledger.make(tmp_path, server)
    with book.worker("old", "-P", "threads", "-l", "INFO") as old:
        old.message("worker_ready")
        assert quiesced(old, book) == 0
        assert "flags=b" not in server.command("CLIENT", "LIST")  # No BRPOP that would take one more.
        server.command("CLIENT", "KILL", "TYPE", "normal")
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        eventually(lambda: old.output().count(b"Connected to redis") == 2, "second connection")
        ids = book.send("[note.delay()]")
        old.order("status")  # Answered by the new loop.
        old.message("active")
        assert queued(server) == 1
        old.order("resume")
        book.wait_for_ends(ids)
        assert book.doubled() == []


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "pre:"}], ids=["", "with a key prefix"])
def test_what_is_revoked_stays_revoked_in_the_next_worker(
    tmp_path: Path, server: Server, options: dict[str, str]
) -> None:
    book = ledger.make(tmp_path, server, extra=f"broker_transport_options={options}")
    with book.worker("old", "-P", "solo") as old:
        old.message("worker_ready")
        quiesced(old, book)
        revoked = book.send("[note.delay()]")
        book.send(f"[app.control.revoke({revoked[0]!r}, reply=True)]")
        with book.worker("new", "-P", "solo", node="b") as new:
            kept = book.send("[note.delay()]")
            new.message("worker_ready")
            book.wait_for_ends(kept)
            assert book.started() == kept


def test_the_name_beside_another_worker_is_used_everywhere(tmp_path: Path, server: Server) -> None:
    book = ledger.make(tmp_path, server, extra="worker_direct=True")
    with book.worker("old", "-P", "prefork", "-l", "INFO", node="b") as run:
        assert run.message("worker_starting")["node"] == "w.1-b@here"
        ready = run.message("worker_ready")
        assert ready["node"] == "w.1-b@here"
        assert (ready["beside"], "direct" in str(ready["why"])) == (False, True)
        assert "w.1-b@here.dq" in str(ready["queues"])
        assert book.send("[list(answer)[0] for answer in app.control.ping(timeout=5, limit=1)]") == ["w.1-b@here"]
        [ran] = book.send("[where.delay().get(timeout=10)]")
        assert ran == "w.1-b@here"
        assert b"w.1-b@here ready." in run.output()


@pytest.mark.parametrize(
    ("words", "why"), [(["--pidfile=w.pid"], "pid"), (["--statedb=w.db"], "state"), (["-B", "-s", "s"], "beat")]
)
def test_a_worker_with_a_file_of_its_own_cannot_live_beside_another(
    tmp_path: Path, server: Server, words: list[str], why: str
) -> None:
    book = ledger.make(tmp_path, server)
    with book.worker("old", "-P", "threads", *words) as run:
        ready = run.message("worker_ready")
        assert ready["beside"] is False
        assert why in str(ready["why"])


def test_what_cannot_be_done_safely_is_refused_and_changes_nothing(tmp_path: Path, server: Server) -> None:
    book = ledger.make(tmp_path, server, event_loop=False)
    with book.worker("old", "-P", "prefork") as run:
        ready = run.message("worker_ready")
        assert (ready["beside"], "pool" in str(ready["why"])) == (False, True)
        run.order("nonsense")
        assert run.message("cannot", lambda said: said["order"] == "nonsense")
        run.order("quiesce")
        assert "event loop" in str(run.message("cannot", lambda said: said["order"] == "quiesce")["why"])
        book.wait_for_ends(book.send("[note.delay()]"))
