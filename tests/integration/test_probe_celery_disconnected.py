"""A worker that control messages do not reach any more: told from a busy and from a stuck one by a real Redis."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devstack.core.health import Broker, Health, Subject
from devstack.probes import celery as probe
from devstack.probes.control import Address, BrokerDown, CannotAsk, Control
from tests.integration.test_probe_celery import age_all, ask, ask_until, make_subject
from tests.support import celery_project
from tests.support.ports import free_port
from tests.support.redis_server import Server, redis_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP")


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server() as own:  # Nobody else may be subscribed there.
        yield own


@contextmanager
def stopped(run: celery_project.Booted) -> Iterator[None]:
    """The main loop does nothing, as in a long solo task: what it loses stays lost. (Celery 5.7 connects again after 0.65 s.)"""
    os.kill(run.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(run.process.pid, signal.SIGCONT)


def answers(subject: Subject) -> None:
    """Waits for a pong: the only proof that it is subscribed. Without one it would be believed to be ready, too."""
    ask_until(subject, Health.READY)
    known = probe._known[subject]
    assert known.control
    assert known.control.ping(known.node, (1.0,) * 30) is not None, "no pong"


def unsubscribe(server: Server, *of: str) -> None:
    assert int(server.command("CLIENT", "KILL", "TYPE", "pubsub", *of).lstrip(":")) >= 1


@pytest.mark.parametrize(
    ("pool", "fix"), [("threads", "if this one does not, restart it"), ("solo", "when its task ends, or else restart")]
)
def test_a_worker_without_its_subscription_is_disconnected_until_it_has_a_new_one(
    tmp_path: Path, server: Server, pool: str, fix: str
) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "lost@here", "-P", pool, "--without-mingle") as run:
        run.message("worker_ready")
        subject = make_subject(run, Broker(server.url, "test"))
        answers(subject)
        with stopped(run):
            unsubscribe(server)
            age_all(subject)
            answer = ask(subject)
        assert answer.health is Health.NOT_YET
        where = f"redis://127.0.0.1:{server.port}/0"
        assert answer.why.startswith(
            f"lost@here is disconnected: it is not subscribed at {where}, and nothing was heard"
        )
        assert fix in answer.fix
        assert ask_until(subject, Health.READY)
        age_all(subject)
        assert ask_until(subject, Health.READY), "and it answers a ping"


def test_a_neighbours_subscription_is_not_ours(tmp_path: Path, server: Server) -> None:
    """Also where the topic has another database, prefix and exchange."""
    url = server.url.removesuffix("/0") + "/3"
    # Without the slash kombu 5.7 finds no queue for what it hears (KeyError), and the worker connects again at each message.
    options = "{'global_keyprefix': 'p:', 'fanout_prefix': '/all-{db}.'}"
    project = celery_project.make(
        tmp_path,
        url,
        extra=f"control_exchange='mine', broker_transport_options={options}, worker_enable_remote_control=True,",
    )
    words = ("-P", "threads", "--without-mingle")
    with (
        celery_project.booted(project, "worker", "-n", "a@here", *words) as one,
        celery_project.booted(project, "worker", "-n", "b@here", *words) as two,
    ):
        subjects = [make_subject(run, Broker(url, "test")) for run in (one, two) if run.message("worker_ready")]
        for each in subjects:
            answers(each)
        with stopped(one):
            age_all(subjects[0])
            assert "does not answer: no pong" in ask(subjects[0]).why, "stuck, and subscribed"
            # Those of the other come back at once.
            unsubscribe(server)
            age_all(subjects[1])
            ask_until(subjects[1], Health.READY)
            age_all(subjects[0])
            assert ask(subjects[0]).why.startswith("a@here is disconnected: ")
        assert ask_until(subjects[0], Health.READY)


def test_after_a_restart_of_redis_it_is_disconnected_until_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    project = celery_project.make(tmp_path, url)
    words = ("-P", "solo", "--without-mingle")
    with redis_server(port=port) as before:
        run_of = celery_project.booted(project, "worker", "-n", "back@here", *words)
        neighbour_of = celery_project.booted(project, "worker", "-n", "neighbour@here", *words)
        with run_of as run, neighbour_of as neighbour:
            subject, other = (make_subject(each, Broker(url, "test")) for each in (run, neighbour))
            for booted, each in ((run, subject), (neighbour, other)):
                booted.message("worker_ready")
                answers(each)
            with stopped(run):
                before.process.kill()
                before.process.wait()
                with redis_server(port=port):
                    age_all(other)
                    ask_until(other, Health.READY)
                    age_all(subject)
                    assert ask(subject).why.startswith("back@here is disconnected: ")
                    os.kill(run.process.pid, signal.SIGCONT)
                    assert ask_until(subject, Health.READY)


def test_remote_control_that_is_off_is_no_lost_subscription(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url, extra="worker_enable_remote_control=False,")
    with celery_project.booted(project, "worker", "-n", "mute@here", "-P", "threads", "--without-mingle") as run:
        run.message("worker_ready")
        subject = make_subject(run, Broker(server.url, "test"))
        assert ask(subject).why.endswith("not pinged: remote control is off")
        with stopped(run):
            age_all(subject)
            answer = ask(subject)
        assert answer.health is Health.UNKNOWN
        assert "disconnected" not in answer.why


def test_an_acl_that_hides_the_connections_leaves_it_open(tmp_path: Path, server: Server) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "w@here", "-P", "threads", "--without-mingle") as run:
        run.message("worker_ready")
        subject = make_subject(run, Broker(server.url, "test"))
        answers(subject)
        control = Control(Address(server.url))
        here = {"127.0.0.1:1": server.port}
        assert control.hears(lambda: here) is None, "Redis knows no such connection"
        assert control.hears(lambda: None) is None
        assert control.hears(lambda: {"127.0.0.1:1": 1}) is False, "connected, but not there"
        assert "+OK" in server.command("ACL", "SETUSER", "default", "-client|list")
        assert control.hears(lambda: here) is None


def test_only_redis_tells_who_is_subscribed() -> None:
    control = Control(Address("amqp://me:secret@127.0.0.1:1//"))
    with pytest.raises(CannotAsk, match="amqp does not tell who is subscribed"):
        control.hears(lambda: {})
    with pytest.raises(BrokerDown):
        Control(Address(f"redis://127.0.0.1:{free_port()}/0")).hears(lambda: {})


def test_with_another_broker_a_silent_worker_stays_unresponsive(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = celery_project.make(tmp_path, server.url)
    with celery_project.booted(project, "worker", "-n", "w@here", "-P", "threads", "--without-mingle") as run:
        run.message("worker_ready")
        subject = make_subject(run, Broker(server.url, "test"))
        answers(subject)
        rabbit = Control(Address("amqp://127.0.0.1:1//"))
        monkeypatch.setattr(rabbit, "ping", lambda node, waits: None)
        monkeypatch.setattr(probe, "_control", lambda subject, known: rabbit)
        age_all(subject)
        answer = ask(subject)
        assert answer.health is Health.NOT_YET
        assert answer.why.startswith("w@here does not answer: no pong")
        assert answer.why.endswith("; whether it is connected cannot be told: amqp does not tell who is subscribed")
