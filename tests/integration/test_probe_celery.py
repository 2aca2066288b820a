"""The worker probe against real workers and a real Redis."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devstack.core.health import Answer, Broker, Health, Subject
from devstack.core.model import Launch
from devstack.probes import celery as probe
from devstack.probes.control import Address, Control
from tests.support import celery_project
from tests.support.redis_server import Server, eventually, redis_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="prefork and descriptors")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_server() as running:
        yield running


def make_subject(
    run: celery_project.Booted, broker: Broker | None, *, channel: bool = True, argv: tuple[str, ...] = ()
) -> Subject:
    def pids() -> set[int]:
        me = psutil.Process(run.process.pid)
        return {me.pid, *(child.pid for child in me.children(recursive=True))}

    launch = Launch(argv, {}, str(run.cwd), channel=channel)
    beacon = run.beacon if channel else {}
    return Subject("worker.1", 1, run.process.pid, launch, time.monotonic(), broker, beacon, pids=pids)


def ask(subject: Subject) -> Answer:
    return asyncio.run(asyncio.wait_for(probe.ask(subject), 5))


def ask_until(subject: Subject, health: Health, why: str = "", within: float = 30) -> Answer:
    end = time.monotonic() + within
    while (answer := ask(subject)).health is not health or why not in answer.why:
        assert time.monotonic() < end, answer
        time.sleep(0.05)
    return answer


def do(project: Path, code: str) -> None:
    subprocess.run([sys.executable, "-c", f"import shop; {code}"], cwd=project, check=True)


def test_a_worker_is_ready_once_it_is_registered_and_has_answered(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "w.1@here", "-c", "2", "-Q", "celery,emails") as run:
        subject = make_subject(run, Broker(server.url, "test"))
        first = ask(subject)
        assert first.health is Health.NOT_YET
        assert first.why == f"the process runs (pid {run.process.pid}), no Celery worker registered yet"

        run.message("worker_starting")
        starting = ask(subject)
        assert (
            starting.why
            == f"w.1@here has loaded its app (pid {run.process.pid}), it is not registered at the broker yet"
        )

        run.message("worker_ready")
        ready = ask_until(subject, Health.READY)
        pid = run.process.pid
        assert ready.why.startswith(f"w.1@here registered (pid {pid}, prefork ×2, queues celery,emails), ping ")

        run.message("heartbeat")
        os.kill(run.process.pid, signal.SIGSTOP)
        assert ask(subject) == ready, "with a fresh heartbeat nobody asks"
        os.kill(run.process.pid, signal.SIGCONT)


def test_import_and_connection_are_paid_while_the_worker_waits_for_its_peers(tmp_path: Path, server: Server) -> None:
    """In mingle, not after it is ready: then the ping costs milliseconds."""
    probe._controls.clear()
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "quick@here", "-P", "solo") as run:
        subject = make_subject(run, Broker(server.url, "test"))
        run.message("worker_starting")
        ask(subject)
        control = probe._known[subject].control
        assert control
        eventually(lambda: control._app is not None, "app of ours that nobody has asked yet")
        run.message("worker_ready")
        ask_until(subject, Health.READY)


def test_an_unanswered_ping_does_not_keep_the_next_one_from_being_heard(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "there@here", "-P", "solo", "--without-mingle") as run:
        run.message("worker_ready")
        control = Control(Address(server.url))
        assert control.ping("there@here", (1.0,) * 30) is not None
        assert control.ping("nobody@here", (0.02,)) is None
        assert control.ping("there@here", (1.0,) * 30) is not None
        with control.app().connection_for_write() as connection:
            assert connection.transport.polling_interval < 0.1, "kombu ends a wait of so long before it closes"


def test_the_workers_own_word_on_its_broker_wins(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(
        tmp_path, server.url, extra="control_exchange='mine', broker_transport_options={'global_keyprefix': 'p:'},"
    )
    with celery_project.booted(project, "worker", "-n", "own@here", "-P", "solo", "--without-mingle") as run:
        run.message("worker_ready")
        wrong = Broker("redis://127.0.0.1:1/0", "somewhere else")
        assert ask(make_subject(run, wrong)).why.startswith("own@here registered")
        eventually(lambda: ", ping " in ask(make_subject(run, None)).why, "pong")


def test_a_stale_heartbeat_is_cured_by_a_pong(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(
        project, "worker", "-n", "quiet@here", "-P", "threads", "--without-heartbeat", "--without-mingle"
    ) as run:
        run.message("worker_ready")
        subject = make_subject(run, Broker(server.url, "test"))
        ask_until(subject, Health.READY)
        probe._known[subject].proof -= 60
        subject.beacon["worker_ready"]["seen"] = time.monotonic() - 60
        ask_until(subject, Health.READY)
        assert probe._known[subject].proof > time.monotonic() - 5


def test_a_solo_worker_in_a_task_is_busy_and_a_stuck_prefork_worker_does_not_answer(
    tmp_path: Path, server: Server
) -> None:
    project = celery_project.make(tmp_path, server.url)
    for pool, expected, words in (
        ("solo", Health.BUSY, "is busy for"),
        ("prefork", Health.NOT_YET, "does not answer: no pong, and nothing heard for"),
    ):
        with celery_project.booted(
            project, "worker", "-n", f"{pool}@here", "-P", pool, "-c", "1", "--without-mingle"
        ) as run:
            run.message("worker_ready")
            subject = make_subject(run, Broker(server.url, "test"))
            ask_until(subject, Health.READY)
            run.message("heartbeat")
            os.kill(run.process.pid, signal.SIGSTOP)  # The main loop does nothing, as in a long solo task.
            try:
                age_all(subject)
                answer = ask(subject)
            finally:
                os.kill(run.process.pid, signal.SIGCONT)
            assert answer.health is expected, answer
            assert words in answer.why
            assert ask_until(subject, Health.READY)


def age_all(subject: Subject) -> None:
    """As if 20 s had passed since the last sign of life."""
    for message in subject.beacon.values():
        message["seen"] = float(str(message["seen"])) - 20
    probe._known[subject].proof -= 20


def test_a_solo_worker_that_starts_into_a_long_task_is_ready(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url)
    do(project, "shop.sleep.apply_async((20,), queue='backlog')")
    with celery_project.booted(
        project, "worker", "-n", "late@here", "-P", "solo", "-Q", "backlog", "--without-mingle"
    ) as run:
        run.message("worker_ready")
        subject = make_subject(run, Broker(server.url, "test"))
        assert ask_until(subject, Health.READY).why.endswith(("no pong yet (solo: busy)", " ms"))


def test_a_broker_that_is_gone_is_not_the_workers_fault(tmp_path: Path) -> None:
    with redis_server() as mortal:
        project = celery_project.make(tmp_path, mortal.url)
        with celery_project.booted(project, "worker", "-n", "orphan@here", "-P", "threads", "--without-mingle") as run:
            run.message("worker_ready")
            subject = make_subject(run, Broker(mortal.url, "test"))
            ask_until(subject, Health.READY)
            mortal.process.kill()
            mortal.process.wait()
            age_all(subject)
            answer = ask(subject)
            assert answer.health is Health.UNKNOWN
            assert answer.why.startswith(f"the broker redis://127.0.0.1:{mortal.port}/0 does not answer: ")
            assert "refused" in answer.why
            with redis_server(port=mortal.port):  # Its connections of before are stale now; nobody has to care.
                assert ask_until(subject, Health.READY)


def test_a_worker_that_waits_for_its_broker_blames_the_broker(tmp_path: Path) -> None:
    with redis_server() as gone:
        url = gone.url
    project = celery_project.make(tmp_path, url)
    with celery_project.booted(project, "worker", "-n", "waits@here", "-P", "solo") as run:
        run.message("worker_starting")
        subject = make_subject(run, Broker(url, "test"))
        answer = ask_until(subject, Health.UNKNOWN, within=10)
        assert "does not answer" in answer.why


def test_a_stranger_with_the_same_name_is_not_ours(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "same@here", "-P", "solo", "--without-mingle") as stranger:
        stranger.message("worker_ready")
        subject = make_subject(stranger, Broker(server.url, "test"))
        subject.beacon = {}
        assert ask(subject).why.endswith("no Celery worker registered yet")

        subject.beacon = {"worker_ready": {**stranger.beacon["worker_ready"], "pid": 1}}
        answer = ask(subject)
        assert answer.health is Health.NOT_YET
        assert answer.why == "same@here registered, but its pid 1 is no process of worker.1"


def test_without_a_beacon_it_is_found_by_name_or_by_pid(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "plain@here", "-P", "threads", "--without-mingle") as run:
        run.message("worker_ready")
        broker = Broker(server.url, "test")
        by_name = make_subject(run, broker, channel=False, argv=("sh", "run.sh", "worker", "--hostname=plain@here"))
        assert ask_until(by_name, Health.READY).why.startswith("plain@here registered, ping ")
        by_pid = make_subject(run, broker, channel=False)
        found = ask_until(by_pid, Health.READY)
        assert found.why.startswith(f"plain@here registered (pid {run.process.pid}), ping ")
        ask_until(by_pid, Health.READY)

        other = make_subject(run, broker, channel=False)
        other.pids = lambda: {1}
        none = "none of the workers that answer is one of its processes (plain@here)"
        assert ask_until(other, Health.NOT_YET, none).fix
        nobody = make_subject(run, broker, channel=False, argv=("celery", "worker", "-n", "nobody@%n"))
        nobody.pids = lambda: {1}
        assert "no Celery worker named nobody@" in ask(nobody).why


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqs://key:secret@", "sqs has no remote control"),
        ("foo://x", "foo has no remote control"),
        ("redis://127.0.0.1:x/0", "Port could not"),
    ],
)
def test_a_broker_that_cannot_be_asked_leaves_the_beacons_word(url: str, reason: str) -> None:
    now = time.monotonic()
    said: dict[str, dict[str, object]] = {
        "worker_ready": {
            "pid": 7,
            "node": "w@h",
            "pool": "solo",
            "concurrency": 1,
            "queues": ["celery"],
            "broker": url,
            "seen": now,
        },
        "heartbeat": {"seen": now},
    }
    subject = Subject("worker.1", 1, 7, Launch((), {}, ".", channel=True), now, Broker(url, "test"), said)
    answer = ask(subject)
    assert answer.health is Health.READY
    assert answer.why.startswith("w@h registered (pid 7, solo, queues celery), not pinged: ")
    assert reason in answer.why
    assert "secret" not in answer.why
    said["heartbeat"]["seen"] = said["worker_ready"]["seen"] = now - 60
    assert ask(subject).health is Health.UNKNOWN


@pytest.mark.parametrize("fields", [{}, {"node": "w@h"}, {"pid": 7}])
@pytest.mark.parametrize("kind", ["worker_starting", "worker_ready"])
def test_a_message_that_does_not_say_which_worker_it_is_about_is_not_said(kind: str, fields: dict[str, object]) -> None:
    now = time.monotonic()
    said: dict[str, dict[str, object]] = {kind: {**fields, "seen": now}}
    subject = Subject("worker.1", 1, 7, Launch((), {}, ".", channel=True), now, None, said)
    assert ask(subject) == Answer(Health.NOT_YET, "the process runs (pid 7), no Celery worker registered yet")


def test_what_is_known_of_a_run_goes_with_it() -> None:
    gc.collect()  # What the tests before this one left in cycles.
    now = time.monotonic()
    said: dict[str, dict[str, object]] = {"worker_ready": {"pid": 7, "node": "w@h", "seen": now}}
    broker = Broker("sqs://nowhere", "test")
    subjects = [Subject("worker.1", run, 7, Launch((), {}, ".", channel=True), now, broker, said) for run in (1, 2)]
    for each in subjects:
        ask_until(each, Health.READY)
    assert (len(probe._known), len(probe._controls)) == (2, 1)
    del each, subjects

    def forgotten() -> bool:
        gc.collect()
        return (len(probe._known), len(probe._controls)) == (0, 0)

    # A thread that asked for the last of them may still be on its way out.
    eventually(forgotten, "what was known of the runs is kept")


def test_the_process_table_is_not_walked_in_the_loop() -> None:
    now = time.monotonic()
    said: dict[str, dict[str, object]] = {"worker_ready": {"pid": 8, "node": "w@h", "seen": now}}
    subject = Subject("worker.1", 1, 7, Launch((), {}, ".", channel=True), now, None, said)
    threads = set[threading.Thread]()

    def pids() -> set[int]:
        threads.add(threading.current_thread())
        return {7}

    subject.pids = pids
    assert ask(subject).why == "w@h registered, but its pid 8 is no process of worker.1"
    assert threads
    assert threading.main_thread() not in threads


def test_a_worker_that_says_little_of_itself_is_registered() -> None:
    now = time.monotonic()
    said: dict[str, dict[str, object]] = {
        "worker_ready": {"pid": 7, "node": "w@h", "pool": "prefork", "queues": 1, "seen": now}
    }
    subject = Subject("worker.1", 1, 7, Launch((), {}, ".", channel=True), now, None, said)
    assert ask(subject).why.startswith("w@h registered (pid 7, prefork), not pinged: ")


def test_a_leaving_worker_is_busy_leaving() -> None:
    now = time.monotonic()
    said: dict[str, dict[str, object]] = {
        "worker_ready": {"pid": 7, "node": "w@h", "seen": now},
        "worker_leaving": {"node": "w@h", "how": "warm", "seen": now + 1},
    }
    subject = Subject("worker.1", 1, 7, Launch((), {}, ".", channel=True), now, None, said)
    assert ask(subject) == Answer(Health.BUSY, "w@h is leaving (warm shutdown)")
