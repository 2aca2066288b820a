"""Load from processes of their own: a sender of tasks and a visitor of a web page, which know what they sent and what came back.

with Sender(broker) as sender:
    ids = sender.send("orders.tasks.note", 30, seconds=0.5)
    sender.flow(100)                # tasks a second, until sender.halt()
with Visitors(url, rate=100) as visitors:
    visitors.wait_for_version(3)
    assert not visitors.failed()

Rule 1: a task counts as sent once the broker has taken it.
Rule 2: who is late does not wait: the rate is kept, whatever the answers do (an open loop).
Rule 3: times are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

ANSWERED_WITHIN = 10.0
"""Seconds until a request has failed."""


class _Program:
    """This file as a process: commands go in as lines, what it tells comes out as lines."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: list[str] = []
        self._over = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join(10)
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line)
                self._took(line.split())
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def _took(self, words: list[str]) -> None:
        raise NotImplementedError

    def _say(self, **command: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _wait(self, true: Callable[[], object], what: str, within: float) -> None:
        with self._news:
            if not self._news.wait_for(true, within):
                ended = f" (the process of the load has exited {self._process.poll()})" if self._over else ""
                raise AssertionError(f"no {what} within {within:.0f} s{ended}; last: {self._lines[-5:]}")


class Sender(_Program):
    """Sends tasks by name, with ids that it chooses. `sent` are those that the broker has taken, with the time."""

    def __init__(self, broker: str) -> None:
        super().__init__("tasks", broker)
        self.sent: dict[str, float] = {}
        self._done = 0
        self._asked = 0
        self._series = itertools.count()
        self._order()  # once it has started

    def __enter__(self) -> Sender:
        return self

    def flow(self, rate: float, task: str = "orders.tasks.note", count: int = 0) -> None:
        """From now on so many tasks a second; with `count`, until so many were sent."""
        self._order(flow=rate, task=task, count=count, prefix=f"f{next(self._series)}")

    def halt(self) -> None:
        """No more tasks; all that were begun are in `sent`."""
        self._order(halt=True)

    def wait_until_sent(self, number: int, within: float = 60) -> None:
        """Until it has sent that many in all."""
        self._wait(lambda: len(self.sent) >= number, f"{number} tasks sent", within)

    def send(self, task: str, count: int = 1, *, countdown: float = 0, seconds: float | list[float] = 0.0) -> list[str]:
        """That many at once; their ids. `seconds` is how long each works."""
        prefix = f"s{next(self._series)}"
        ids = [f"{prefix}-{number}" for number in range(count)]
        long = seconds if isinstance(seconds, list) else [seconds] * count
        self._order(send=[[each, took] for each, took in zip(ids, long, strict=True)], task=task, countdown=countdown)
        return ids

    def chord(self, parts: int, seconds: float) -> list[str]:
        """Tasks side by side, and one that sums up what they returned; their ids, the sum's last."""
        prefix = f"c{next(self._series)}"
        ids = [f"{prefix}-{number}" for number in range(parts + 1)]
        self._order(chord=ids, seconds=seconds)
        return ids

    def _order(self, **command: object) -> None:
        self._asked += 1
        self._say(**command)
        self._wait(lambda: self._done >= self._asked, "answer of the sender", 60)

    def _took(self, words: list[str]) -> None:
        if words[0] == "sent":
            self.sent[words[1]] = float(words[2])
        else:
            self._done += 1


@dataclass(frozen=True)
class Visit:
    """One request. `answer` is the body of a 200, else empty; `fault` says what went wrong."""

    began: float
    ended: float
    answer: str
    fault: str


class Visitors(_Program):
    """Requests a page so many times a second, each time in a new connection."""

    def __init__(self, url: str, rate: float) -> None:
        self.visits: list[Visit] = []
        super().__init__("requests", url, str(rate))

    def __enter__(self) -> Visitors:
        return self

    def failed(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.fault]

    def halt(self) -> None:
        """No new request; those that are open are waited for."""
        self._say(halt=True)
        self._wait(lambda: self._over, "end of the visits", 30)

    def wait_for_version(self, version: int, within: float = 60.0) -> Visit:
        """The first answer of this version or a later one."""

        def found() -> Visit | None:
            return next(
                (visit for visit in self.visits if visit.answer.isdigit() and int(visit.answer) >= version), None
            )

        self._wait(found, f"answer of version {version}", within)
        visit = found()
        assert visit
        return visit

    def wait_for_visits_since(self, moment: float, count: int, within: float = 60.0) -> None:
        """Until so many that began after that moment have been answered."""
        since = f"{count} answers since then"
        self._wait(lambda: sum(visit.began > moment for visit in self.visits) >= count, since, within)

    def _took(self, words: list[str]) -> None:
        began, ended, answer, fault = json.loads(" ".join(words))
        self.visits.append(Visit(began, ended, answer, fault))


# ---- the processes


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _send_tasks(broker: str) -> None:
    from celery import Celery, chord

    app = Celery("sender", broker=broker, backend=broker)
    flow: dict[str, Any] | None = None
    began, number = 0.0, 0

    def send(task: str, name: str, **options: Any) -> None:
        app.send_task(task, task_id=name, **options)
        _tell(f"sent {name} {time.monotonic()!r}")

    while True:
        due = began + number / flow["flow"] - time.monotonic() if flow else None
        if flow and due is not None and due <= 0:
            send(flow["task"], f"{flow['prefix']}-{number}", ignore_result=True)
            number += 1
            if number == flow["count"]:
                flow = None
            if not select.select([sys.stdin], [], [], 0)[0]:
                continue
        elif not select.select([sys.stdin], [], [], due)[0]:
            continue
        # One order at a time: the next is only sent when this one was answered, so nothing hides in a buffer.
        line = sys.stdin.readline()
        if not line:
            return
        order = json.loads(line)
        if "flow" in order:
            flow, began, number = order, time.monotonic(), 0
        elif "halt" in order:
            flow = None
        elif "send" in order:
            for name, seconds in order["send"]:
                countdown = {"countdown": order["countdown"]} if order["countdown"] else {}
                send(order["task"], name, kwargs={"seconds": seconds}, **countdown)
        elif "chord" in order:
            *parts, total = order["chord"]
            header = [
                app.signature("orders.tasks.part", kwargs={"seconds": order["seconds"]}, task_id=name) for name in parts
            ]
            chord(header, app=app)(app.signature("orders.tasks.total", task_id=total))
            for name in order["chord"]:
                _tell(f"sent {name} {time.monotonic()!r}")
        _tell("done")


async def _visit(host: str, port: int, path: str, began: float) -> None:
    answer = fault = ""
    try:
        async with asyncio.timeout(ANSWERED_WITHIN):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        status = head.split(b" ", 2)[1:2]
        if status == [b"200"]:
            answer = body.decode()
        else:
            fault = f"status {status[0].decode()}" if status else "no answer"
    except (OSError, TimeoutError) as error:
        fault = type(error).__name__
    _tell(json.dumps([began, time.monotonic(), answer, fault]))


async def _visit_often(url: str, rate: float) -> None:
    where = urlsplit(url)
    assert where.hostname
    assert where.port
    halted = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            await asyncio.wait([halted], timeout=max(0.0, began + number / rate - time.monotonic()))
            if halted.done():
                return
            group.create_task(_visit(where.hostname, where.port, where.path, time.monotonic()))


if __name__ == "__main__":
    if sys.argv[1] == "tasks":
        _send_tasks(sys.argv[2])
    else:
        asyncio.run(_visit_often(sys.argv[2], float(sys.argv[3])))
