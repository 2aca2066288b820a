"""A Celery project whose tasks write into a list in Redis what they did, for tests about tasks that are lost, doubled or late.

book = ledger.make(tmp_path, server, acks_late=True)
with book.worker("old", "-P", "solo") as old:
    ids = book.send("[note.delay(0.1) for n in range(5)]")
    book.finished(ids)

A line is "start ID CODE" or "end ID CODE"; a test may add lines of its own (`book.mark("quiesced")`): one list, so one order of events,
whatever the clocks and logs say. ID is the task's, and ".1" behind it counts a retry; CODE is what the worker was started as.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support import celery_project
from tests.support.redis_server import Server, eventually

TASKS = """
import os, time
import redis
from celery import Celery, chord
app = Celery("shop", broker={url!r}, backend={url!r})
app.conf.update(
    broker_connection_retry_on_startup=True, task_acks_late={acks_late!r},
    worker_cancel_long_running_tasks_on_connection_loss=False, {extra}
)
CODE = os.environ.get("CODE", "sender")

def write(line):
    with redis.Redis.from_url({url!r}) as client:
        client.rpush("ledger", line)

def record(self, seconds=0.0, retry=False):
    me = self.request.id + (f".{{self.request.retries}}" if self.request.retries else "")
    write(f"start {{me}} {{CODE}}")
    time.sleep(seconds)
    write(f"end {{me}} {{CODE}}")
    if retry and not self.request.retries:
        raise self.retry(countdown=1)
    return 1

note = app.task(bind=True, name="shop.note")(record)
late = app.task(bind=True, name="shop.late", acks_late=True)(record)

@app.task(bind=True, rate_limit="4/s")
def slowly(self):
    write(f"start {{self.request.id}} {{CODE}}")
    write(f"end {{self.request.id}} {{CODE}}")

@app.task(bind=True)
def total(self, numbers):
    write(f"start {{self.request.id}} {{CODE}}")
    write(f"end {{self.request.id}} {{CODE}}")
    return sum(numbers)

@app.task(bind=True)
def where(self):
    return self.request.hostname

if not {event_loop!r}:
    from celery.worker import WorkController
    WorkController.should_use_eventloop = lambda self: False
"""

SEND = "import sys; sys.path.insert(0, '.'); from shop import *; sent = {code}; print(*[getattr(s, 'id', s) for s in sent])"


def make(directory: Path, server: Server, *, acks_late: bool = False, event_loop: bool = True, extra: str = "") -> Book:
    """`event_loop=False`: Celery's blocking loop, which Windows has."""
    directory.mkdir(parents=True, exist_ok=True)
    server.command("FLUSHALL")
    code = TASKS.format(url=server.url, acks_late=acks_late, event_loop=event_loop, extra=extra)
    (directory / "shop.py").write_text(code)
    return Book(directory, server)


@dataclass
class Book:
    directory: Path
    server: Server
    python: str = sys.executable

    def worker(
        self, code: str, *words: str, node: str = ""
    ) -> contextlib.AbstractContextManager[celery_project.Booted]:
        environment = {"CODE": code, **({"DEVSTACK_NODE": node} if node else {})}
        words = ("-n", "w.1@here", "-c", "2", *words)
        return celery_project.booted(self.directory, "worker", *words, env=environment, python=self.python)

    def send(self, *expressions: str) -> list[str]:
        """Evaluate lists of results (or of ids) with the names of the project; their ids."""
        code = SEND.format(code=" + ".join(expressions))
        done = subprocess.run([self.python, "-c", code], cwd=self.directory, check=True, stdout=subprocess.PIPE)
        return done.stdout.decode().split()

    def lines(self) -> list[list[str]]:
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            return [line.decode().split() for line in client.lrange("ledger", 0, -1)]

    def mark(self, text: str) -> None:
        self.server.command("RPUSH", "ledger", text)

    def started(self, code: str | None = None) -> list[str]:
        return [line[1] for line in self.lines() if line[0] == "start" and code in (None, line[2])]

    def after(self, mark: str) -> list[list[str]]:
        lines = self.lines()
        return lines[lines.index([mark]) + 1 :]

    def wait_for_starts(self, number: int, code: str = "old") -> None:
        eventually(lambda: len(self.started(code)) >= number, f"{number} tasks started by the {code} code")

    def wait_for_ends(self, ids: list[str], within: float = 30) -> None:
        """Until every task has ended at least once; says which ones have not."""

        def missing() -> set[str]:
            return set(ids) - {line[1] for line in self.lines() if line[0] == "end"}

        with contextlib.suppress(AssertionError):
            eventually(lambda: not missing(), "end", within=within)
        left = sorted(missing())
        states = {
            key: self.server.command(*key.split()) for key in ("LLEN celery", "HLEN unacked", "ZCARD unacked_index")
        }
        assert not left, f"{len(left)} of {len(ids)} never ended: {left[:3]}…; {states}; last {self.lines()[-3:]}"

    def doubled(self) -> list[str]:
        starts = Counter(self.started())
        return [each for each, times in starts.items() if times > 1]
