"""What Celery does with a broker and a result backend: thirty-three checks with real workers.

`with stage(pool, broker) as it:` starts a worker; each function of CHECKS takes the stage and asserts.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis_server import Server, eventually

WITHIN = 30.0 if sys.platform != "win32" else 120.0  # under wine everything takes its time
TASKS = """
import os, time
from celery import Celery, chord
app = Celery("matrix", broker={url!r}, backend={url!r})
app.conf.update(
    task_default_queue="main", result_expires=600, broker_connection_retry_on_startup=True,
    broker_transport_options={{"visibility_timeout": 3600, "priority_steps": list(range(10)), "queue_order_strategy": "priority"}},
    worker_cancel_long_running_tasks_on_connection_loss=False, worker_prefetch_multiplier=1,
)

@app.task
def add(a, b):
    return a + b

@app.task
def total(numbers):
    return sum(numbers)

@app.task
def fail():
    raise KeyError("broken on purpose")

@app.task(bind=True, max_retries=3)
def again(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries

@app.task
def echo(value):
    return value

@app.task
def sleep(seconds, path=""):
    if path:
        open(path, "a").write("began\\n")
    time.sleep(seconds)
    return os.getpid()

@app.task(acks_late=True, reject_on_worker_lost=True)
def careful(path, seconds):
    with open(path, "a") as file:
        file.write("began\\n")
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write("ended\\n")

@app.task(bind=True)
def progress(self, path):
    self.update_state(state="PROGRESS", meta={{"done": 50}})
    end = time.monotonic() + 20
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.01)
    return "finished"

@app.task(bind=True)
def replaced(self, numbers):
    raise self.replace(chord([add.s(each, each) for each in numbers], total.s()))

@app.task(rate_limit="2/s")
def limited():
    return time.time()

@app.task
def note(path, text):
    with open(path, "a") as file:
        file.write(text + "\\n")
"""


class Stage:
    """`app` is the project's Celery app in this process, `tasks` its module, `node` the name of the worker that always runs."""

    def __init__(self, server: Server, directory: Path, pool: str) -> None:
        self.server, self.directory, self.pool = server, directory, pool
        self.module = f"matrix_{pool}_{server.port}"
        (directory / f"{self.module}.py").write_text(TASKS.format(url=server.url))
        sys.path.insert(0, str(directory))
        self.tasks: Any = __import__(self.module)
        self.app = self.tasks.app
        self.node = f"main@{pool}"

    def path(self, name: str) -> Path:
        return self.directory / name

    def replies(self, node: str = "") -> bool:
        return bool(self.app.control.ping(destination=[node or self.node], timeout=1.0))

    def waiting(self) -> set[str]:
        """The connections that wait for messages."""
        return set(re.findall(r"\bid=(\d+) .*\bcmd=brpop\b", self.server.command("CLIENT", "LIST")))

    @contextlib.contextmanager
    def worker(self, name: str, queues: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Ready when the block begins, and gone with its children after it."""
        node, log = f"{name}@{self.pool}", self.path(f"{name}.log")
        command = [sys.executable, "-m", "celery", "-A", self.module, "worker", "-P", self.pool, "-c", "2", "-n", node]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "-Q", queues, "-l", "INFO", *words],
                cwd=self.directory,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            eventually(lambda: self.replies(node), f"worker {node}", log, WITHIN)
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()  # its pools have no children there
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def stage(server: Server, directory: Path, pool: str) -> Iterator[Stage]:
    it = Stage(server, directory, pool)
    try:
        with it.worker("main", "main,other"):
            yield it
    finally:
        sys.path.remove(str(directory))
        it.app.close()


CHECKS: dict[str, Callable[[Stage], None]] = {}


def check(function: Callable[[Stage], None]) -> Callable[[Stage], None]:
    CHECKS[function.__name__] = function
    return function


@check
def basic(it: Stage) -> None:
    assert it.tasks.add.delay(2, 3).get(timeout=WITHIN) == 5


@check
def failure(it: Stage) -> None:
    result = it.tasks.fail.delay()
    with pytest.raises(KeyError, match="broken on purpose"):
        result.get(timeout=WITHIN)
    assert "Traceback" in result.traceback


@check
def retry(it: Stage) -> None:
    assert it.tasks.again.delay().get(timeout=WITHIN) == 2


@check
def countdown(it: Stage) -> None:
    began = time.monotonic()
    assert it.tasks.add.apply_async((1, 1), countdown=1.5).get(timeout=WITHIN) == 2
    assert time.monotonic() - began >= 1.4


@check
def expires(it: Stage) -> None:
    """A task that is too old when its turn comes is revoked."""
    it.app.control.cancel_consumer("other", destination=[it.node], reply=True)
    result = it.tasks.add.apply_async((1, 1), queue="other", expires=0.05)
    time.sleep(0.1)  # its time has to pass
    it.app.control.add_consumer("other", destination=[it.node], reply=True)
    eventually(lambda: result.state == "REVOKED", "revoked task", within=WITHIN)


@check
def group(it: Stage) -> None:
    from celery import group as grouped

    assert grouped(it.tasks.add.s(each, 1) for each in range(20)).delay().get(timeout=WITHIN) == list(range(1, 21))


@check
def chain(it: Stage) -> None:
    from celery import chain as chained

    assert chained(it.tasks.add.s(1, 1), it.tasks.add.s(5), it.tasks.add.s(10)).delay().get(timeout=WITHIN) == 17


@check
def chord(it: Stage) -> None:
    from celery import chord as chorded

    for _ in range(10):
        assert (
            chorded([it.tasks.add.s(each, each) for each in range(5)], it.tasks.total.s()).delay().get(timeout=WITHIN)
            == 20
        )


@check
def chord_by_replace(it: Stage) -> None:
    assert it.tasks.replaced.delay([1, 2, 3]).get(timeout=WITHIN) == 12


@check
def progress_states(it: Stage) -> None:
    path = it.path("go")
    path.unlink(missing_ok=True)
    result = it.tasks.progress.delay(str(path))
    eventually(lambda: result.state == "PROGRESS", "PROGRESS", within=WITHIN)
    assert result.info == {"done": 50}
    path.touch()
    assert result.get(timeout=WITHIN) == "finished"


@check
def payload_of_5_megabytes(it: Stage) -> None:
    value = "x" * 5_000_000
    assert it.tasks.echo.delay(value).get(timeout=WITHIN) == value


@check
def payload_of_line_ends(it: Stage) -> None:
    value = "\r\n$5\r\n*1\r\n" * 60_000
    assert it.tasks.echo.delay(value).get(timeout=WITHIN) == value


@check
def inspect_commands(it: Stage) -> None:
    inspect = it.app.control.inspect([it.node], timeout=5)
    for name in ("active", "scheduled", "reserved", "revoked", "registered", "stats", "active_queues", "conf", "ping"):
        answer = getattr(inspect, name)()
        assert answer is not None, name
        assert it.node in answer, name


@check
def pings(it: Stage) -> None:
    for _ in range(20):
        assert it.replies()


@check
def active(it: Stage) -> None:
    path = it.path("active")
    result = it.tasks.sleep.delay(1, str(path))
    eventually(path.exists, "running task", within=WITHIN)
    if it.pool != "solo":  # whose only thread is in the task
        found = it.app.control.inspect([it.node], timeout=5).active()
        assert [each["id"] for each in found[it.node]] == [result.id]
    assert result.get(timeout=WITHIN)


@check
def revoke_eta(it: Stage) -> None:
    result = it.tasks.add.apply_async((1, 1), countdown=600)
    inspect = it.app.control.inspect([it.node], timeout=5)
    eventually(lambda: result.id in f"{inspect.scheduled()}", "scheduled task", within=WITHIN)
    it.app.control.revoke(result.id, destination=[it.node], reply=True)
    assert result.id in f"{inspect.revoked()}"


@check
def revoke_running(it: Stage) -> None:
    path = it.path("revoked")
    result = it.tasks.sleep.delay(60 if it.pool == "prefork" else 1, str(path))
    eventually(path.exists, "running task", within=WITHIN)
    if it.pool == "prefork":
        it.app.control.revoke(result.id, terminate=True, signal="SIGKILL")
        eventually(lambda: result.state == "REVOKED", "revoked task", within=WITHIN)
    else:  # which cannot end a task
        assert result.get(timeout=WITHIN)


@check
def rate_limit(it: Stage) -> None:
    times = sorted(each.get(timeout=WITHIN) for each in [it.tasks.limited.delay() for _ in range(4)])
    assert times[-1] - times[0] >= 0.9
    answer = it.app.control.rate_limit(it.tasks.limited.name, "100/s", destination=[it.node], reply=True)
    assert "ok" in answer[0][it.node]


@check
def routing(it: Stage) -> None:
    assert it.tasks.add.apply_async((1, 2), queue="other").get(timeout=WITHIN) == 3


@check
def consumers_come_and_go(it: Stage) -> None:
    assert "ok" in it.app.control.add_consumer("fresh", destination=[it.node], reply=True)[0][it.node]
    assert it.tasks.add.apply_async((1, 2), queue="fresh").get(timeout=WITHIN) == 3
    assert "ok" in it.app.control.cancel_consumer("fresh", destination=[it.node], reply=True)[0][it.node]
    it.tasks.add.apply_async((1, 2), queue="fresh")
    queues = it.app.control.inspect([it.node], timeout=5).active_queues()[it.node]
    assert "fresh" not in [each["name"] for each in queues]
    assert int(it.server.command("LLEN", "fresh").lstrip(":")) == 1


@check
def pool_grows(it: Stage) -> None:
    answer = it.app.control.pool_grow(1, destination=[it.node], reply=True, timeout=10)
    assert it.node in answer[0]
    if it.pool == "prefork":
        assert "ok" in it.app.control.pool_shrink(1, destination=[it.node], reply=True, timeout=10)[0][it.node]


@check
def priorities(it: Stage) -> None:
    """What waits is taken by priority: 0 first, in this transport."""
    path = it.path("priorities")
    for priority in (9, 5, 0, 3, 7):
        it.tasks.note.apply_async((str(path), f"{priority}"), queue="ranked", priority=priority)
    with it.worker("ranked", "ranked", "-c", "1"):
        eventually(lambda: path.exists() and len(path.read_text().split()) == 5, "five tasks", within=WITHIN)
    assert path.read_text().split() == ["0", "3", "5", "7", "9"]


@check
def depths(it: Stage) -> None:
    for _ in range(3):
        it.tasks.add.apply_async((1, 1), queue="deep")
    assert it.server.command("LLEN", "deep") == ":3"


@check
def purge(it: Stage) -> None:
    for _ in range(3):
        it.tasks.add.apply_async((1, 1), queue="purged")
    with it.app.connection_for_write() as connection:
        assert connection.default_channel.queue_purge("purged") == 3
    assert it.server.command("LLEN", "purged") == ":0"


@check
def events(it: Stage) -> None:
    found: list[str] = []
    done = threading.Event()

    def take(event: dict[str, Any]) -> None:
        found.append(event["type"])
        if event["type"] == "task-succeeded":
            done.set()

    it.app.control.enable_events(destination=[it.node], reply=True)
    with it.app.connection_for_read() as connection:
        receiver = it.app.events.Receiver(connection, handlers={"*": take})
        with receiver.consumer_context() as (drained, _, _):
            # kombu subscribes when it first looks for messages.
            patterns = it.server.command("PUBSUB", "NUMPAT")
            for _ in range(100):
                with contextlib.suppress(TimeoutError, OSError):
                    drained.drain_events(timeout=0.02)
                if it.server.command("PUBSUB", "NUMPAT") != patterns:
                    break
            sent = it.tasks.add.delay(1, 1)
            limit = time.monotonic() + WITHIN
            while not done.is_set() and time.monotonic() < limit:
                with contextlib.suppress(TimeoutError, OSError):
                    drained.drain_events(timeout=0.5)
    assert sent.get(timeout=WITHIN) == 2
    it.app.control.disable_events(destination=[it.node], reply=True)
    assert {"task-received", "task-started", "task-succeeded"} <= set(found), found


@check
def two_workers(it: Stage) -> None:
    with it.worker("second", "main"):
        assert {next(iter(each)) for each in it.app.control.ping(timeout=2)} == {it.node, f"second@{it.pool}"}
        assert "sync with 1 nodes" in it.path("second.log").read_text()


@check
def unacknowledged_comes_back_after_kill(it: Stage) -> None:
    """A late-acknowledged task of a killed worker is restored by another one once its visibility timeout is over."""
    path = it.path("careful")
    options = {**it.app.conf.broker_transport_options, "visibility_timeout": 2, "unacked_restore_interval": 0.2}
    module = it.path("short.py")
    module.write_text(f"from {it.module} import app\napp.conf.broker_transport_options = {options!r}\n")
    with it.worker("victim", "careful") as victim:
        it.tasks.careful.apply_async((str(path), 60 if it.pool == "prefork" else 20), queue="careful")
        # That the file is there does not mean that anything is in it.
        eventually(lambda: path.exists() and "began" in path.read_text(), "running task", within=WITHIN)
        end(victim)
    assert it.server.command("HLEN", "unacked") != ":0"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "short",
        "worker",
        "-P",
        it.pool,
        "-c",
        "2",
        "-n",
        f"heir@{it.pool}",
    ]
    with it.path("heir.log").open("wb") as output:
        heir = subprocess.Popen(
            [*command, "-Q", "careful", "-l", "INFO"],
            cwd=it.directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(lambda: path.read_text().count("began") >= 2, "restored task", it.path("heir.log"), 60)
    finally:
        end(heir)


@check
def nothing_is_lost_to_a_killed_worker(it: Stage) -> None:
    """A worker that waits in BRPOP and is killed takes no message with it, once the system has closed its connections."""
    others = it.waiting()
    with it.worker("idle", "quick") as idle:
        its = it.waiting() - others
        end(idle)
        eventually(lambda: not its & it.waiting(), "end of its connections")
        for _ in range(3):
            it.tasks.add.apply_async((1, 1), queue="quick")
        assert it.server.command("LLEN", "quick") == ":3"


@check
def round_trips(it: Stage) -> None:
    for each in range(200):
        assert it.tasks.add.delay(each, 1).get(timeout=WITHIN) == each + 1


@check
def client_threads(it: Stage) -> None:
    wrong: list[object] = []

    def work() -> None:
        for each in range(15):
            try:
                if it.tasks.add.delay(each, each).get(timeout=WITHIN) != 2 * each:
                    wrong.append(each)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


@check
def results_end_and_are_forgotten(it: Stage) -> None:
    result = it.tasks.add.delay(1, 1)
    assert result.get(timeout=WITHIN) == 2
    key = f"celery-task-meta-{result.id}"
    assert 0 < int(it.server.command("TTL", key).lstrip(":")) <= 600
    result.forget()
    assert it.server.command("EXISTS", key) == ":0"


@check
def inspect_ping_by_command(it: Stage) -> None:
    command = [sys.executable, "-m", "celery", "-A", it.module, "inspect", "ping", "-d", it.node]
    found = subprocess.run(command, cwd=it.directory, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "pong" in found.stdout


@check
def shutdown_from_afar(it: Stage) -> None:
    with it.worker("leaving", "leaving") as leaving:
        it.app.control.shutdown(destination=[f"leaving@{it.pool}"])
        assert leaving.wait(WITHIN) == 0
