"""An error that several processes meet at one save is shown once."""

from __future__ import annotations

import pytest

from devstack.core.causes import Cause
from devstack.core.events import Announce
from devstack.core.model import Process, Service
from devstack.runtime.frames import Frames

ERROR = "exited 1: No module named 'x' (shop/settings.py:3)"


def shown(frames: Frames, name: str, why: str = ERROR, kind: str = "kept", blocked: tuple[str, ...] = ()) -> str:
    process = Process(f"{name}.1", Service(name), saved="shop/settings.py")
    said = Announce(process.name, 2, kind, why)  # type: ignore[arg-type]
    return frames.of(process, said, Cause(why, True, "install it"), "Traceback\nlast", list(blocked))


def test_the_second_one_is_a_line() -> None:
    frames = Frames()
    assert "  why: " + ERROR in shown(frames, "web")
    kept = "error: worker.1 could not reload shop/settings.py; the old code keeps running: the same error as web.1"
    assert shown(frames, "worker") == kept
    other_code = shown(frames, "beat", ERROR.replace("exited 1", "exited 3"), "failed", ("flower.1",))
    assert other_code == "error: beat.1 failed: the same error as web.1\n  waiting for it: flower.1"


@pytest.mark.parametrize("why", ["exited 1", "exited 1: No module named 'x'", "killed by SIGKILL, out of memory?"])
def test_what_stands_at_no_line_of_the_project_may_be_another(why: str) -> None:
    frames = Frames()
    assert [shown(frames, name, why).count("last lines") for name in ("web", "worker")] == [1, 1]


def test_another_error_and_the_same_one_after_a_save_are_shown() -> None:
    frames = Frames()
    shown(frames, "web")
    assert "last lines" in shown(frames, "worker", ERROR.replace(":3", ":4"))
    assert "last lines" in shown(frames, "web")
    frames.forget()
    assert "last lines" in shown(frames, "worker")


def test_one_that_is_late_is_like_no_other() -> None:
    frames = Frames()
    shown(frames, "web")
    assert "is not ready after" in shown(frames, "worker", kind="overdue")
