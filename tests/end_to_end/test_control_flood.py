"""Random requests, half of them garbage, from twenty clients at once, while the stack floods its logs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from devstack.control import client
from tests.support.control import PYTHON, SLEEPS, Driven, heard, line_to

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests of Windows have their own folder")

FLOODS = f"{PYTHON} -uc \"import sys; [sys.stdout.write('x' * 200 + chr(10)) for _ in iter(int, 1)]\""
CLIENTS, REQUESTS = 20, 1000
GROWTH = 40_000_000
"""Bytes: what 1,000 requests may leave behind, with the room that the log writer's queue takes and gives back."""


def requests(rng: random.Random) -> bytes:
    """One line; every second one is no request, or one for what is not there."""
    name = rng.choice(["web", "worker.1", "w*", "nope", "*", "[", "", "x" * 5000, "\x00", "é"])
    good = [
        {"do": "ps"},
        {"do": "hello"},
        {"do": "names"},
        {"do": "why", "names": [name]},
        {"do": "environment"},
        {"do": "restart", "names": ["worker"], "limit": 0.5},
        {"do": "stop", "names": ["worker.2"], "limit": 0.5},
        {"do": "start", "names": ["worker"], "limit": 0.5},
        {"do": "wait", "names": [name], "limit": 0.2},
        {"do": "scale", "counts": {"worker": rng.randint(1, 3)}, "limit": 0.5},
    ]
    bad = [
        {"do": "explode"},
        {"do": "restart", "names": name},
        {"do": "restart", "names": [7, None]},
        {"do": "scale", "counts": {name: rng.choice([-1, 10**9, "many", None, True, 1.5])}},
        {"do": "scale", "counts": [name]},
        {"do": "why", "names": {name: 1}},
        {"do": "attach", "names": [name]},
        {"do": "breakpoint", "process": name, "pid": rng.choice(["1", None, 7]), "file": 3, "line": "x"},
        {"do": "wait", "names": ["nope"], "limit": rng.choice([-1, "x", None, 1e300])},
    ]
    if rng.random() < 0.5:
        return json.dumps(rng.choice(good)).encode() + b"\n"
    if rng.random() < 0.5:
        return json.dumps(rng.choice(bad)).encode() + b"\n"
    return rng.choice(
        [os.urandom(rng.randint(1, 300)).replace(b"\n", b"") + b"\n", b"\n", b"GET / HTTP/1.0\r\n", b"y" * 70_000]
    )


def test_a_thousand_requests_half_of_them_garbage_are_answered_while_the_logs_flood(tmp_path: Path) -> None:
    lines = {"web": FLOODS, "worker": SLEEPS}
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "devstack.toml").write_text("log_size = 1000000\nlog_count = 2\n")
    with Driven(tmp_path / "p", lines, "up", "--quiet", "web", state=tmp_path / "s") as stack:
        stack.settled()
        runtime, unanswered, times = stack.runtime, [], []
        for _ in range(50):
            client.one(runtime, "ps")
        before = psutil.Process(stack.process.pid).memory_info().rss

        def drive(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(REQUESTS // CLIENTS):
                request, began = requests(rng), time.monotonic()
                line, _ = line_to(runtime)
                with line:
                    with contextlib.suppress(ConnectionError):  # it was refused before it had said all
                        line.sendall(request)
                    said = heard(line)
                times.append(time.monotonic() - began)
                if b'"end"' not in said:
                    unanswered.append((request[:200], said[-200:]))

        drivers = [threading.Thread(target=drive, args=(seed,)) for seed in range(CLIENTS)]
        for each in drivers:
            each.start()
        for each in drivers:
            each.join()

        assert not unanswered, unanswered[:3]
        assert len(times) == REQUESTS
        assert stack.process.poll() is None, stack.text
        assert "Traceback" not in stack.text
        assert psutil.Process(stack.process.pid).memory_info().rss < before + GROWTH
        assert stack.do("start", "*").returncode == 0
        assert stack.rows()["web.1"]["phase"] == "ready"
        assert stack.do("down").returncode == 0
        assert stack.ends() == 0
        print(f"slowest {max(times):.2f} s")
