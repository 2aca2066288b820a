"""What becomes of those that crash, of the others, and of those that do not leave: seen with real processes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from devstack.core import events as e
from devstack.core.model import Phase
from devstack.runtime import voice
from devstack.runtime.supervisor import JITTER, Supervisor
from tests.support.stage import Stage, child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sh and signals")

STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
FOREVER = "import signal; print('up', flush=True); signal.pause()"


def test_those_that_crash_together_do_not_start_again_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real = Supervisor._later

    def later(self: Supervisor, after: float, call: Callable[..., None], *arguments: object) -> None:
        if arguments and isinstance(arguments[0], e.Elapsed) and arguments[0].purpose == "backoff":
            pauses.append(after)
        real(self, after, call, *arguments)

    monkeypatch.setattr(Supervisor, "_later", later)
    stage = Stage(*(child(f"web{n}", "exit 3", shell=True) for n in range(8)), max_failures=2)

    assert stage.play() == 3
    assert len(set(pauses)) == len(pauses) == 8
    assert all(0.5 <= pause <= 0.5 * (1 + JITTER) for pause in pauses)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("kill -9 $$", 137, "was killed by SIGKILL"),
        ("kill -TERM $$", 143, "was killed by SIGTERM"),
        ("exit 7", 7, "exited 7"),
        ("no-such-program", 127, "not found"),
        ("/dev/null", 126, "ermission denied"),
    ],
)
def test_the_exit_code_is_that_of_the_first_failure(line: str, code: int, words: str) -> None:
    """As a shell would give it; the others are ended, and their ends do not count."""
    stage = Stage(
        child("web", FOREVER),
        child("flaky", f"sleep 0.3; {line}", shell=True),
        exit_on_failure=True,
        max_failures=1,
    )
    assert stage.play() == code
    assert words in stage.text
    assert "web.1 stopped" in stage.text


def test_each_leaves_within_its_own_grace_and_after_those_that_need_it() -> None:
    stage = Stage(child("base", STUBBORN, grace=0.6), child("app", STUBBORN, "base", grace=0.3))

    async def script(stage: Stage) -> None:
        await stage.until("all ready")
        stage.supervisor.leave()

    stage.play(script)
    said = re.findall(r"(\w+)\.1(: did not leave within \d+ ms| stopped)", stage.text)
    assert said == [
        ("app", ": did not leave within 300 ms"),
        ("app", " stopped"),
        ("base", ": did not leave within 600 ms"),
        ("base", " stopped"),
    ]


def test_a_slow_stop_says_who_holds_it_up_and_with_what() -> None:
    stage = Stage(child("worker", FOREVER), child("web", FOREVER), child("beat", FOREVER))
    for name in ("worker.1", "web.1"):
        stage.stack.processes[name].phase = Phase.STOPPING
    doing = {"worker.1": [["shop.tasks.report", 12.0], ["shop.tasks.mail", 1.0]]}
    assert voice.stopping(stage.stack, 12.0, doing) == (
        "waiting for worker.1 (finishing shop.tasks.report and 1 more, 12 s) and web.1 to stop, 12 s; Ctrl-C again to force"
    )
