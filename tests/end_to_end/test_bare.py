"""What a Mac would do, as far as Linux can show it: without pidfd and /proc, and with processes that are spawned, never forked.

Here a few tests run so, always; `scripts/test.py --bare` runs all that are chosen so. It finds errors of logic, nothing else.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BARE
from tests.end_to_end.test_nothing_is_left_behind import (
    test_many_processes_get_room_and_their_usual_limit,  # noqa: F401
    test_what_a_script_starts_in_the_background_stops_as_politely,  # noqa: F401
)
from tests.end_to_end.test_up_shop import (
    shop,  # noqa: F401
    test_a_saved_task_is_live_in_the_worker_and_in_the_web_server_that_imports_it,  # noqa: F401
    test_the_whole_shop_comes_up_in_order_works_and_leaves_nothing,  # noqa: F401
)
from tests.end_to_end.test_web_ports import (
    test_a_port_that_a_fork_has_bound_makes_the_old_code_end_first,  # noqa: F401
)
from tests.support.faults import BOUND, KINDS, children, nasty
from tests.support.redis_server import eventually
from tests.support.up import Up

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing has to be taken away")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", BARE)


def test_what_only_linux_has_is_not_there() -> None:
    program = """
import asyncio, multiprocessing, os, sys
import billiard, psutil
print(os.path.exists("/proc/self"), hasattr(os, "pidfd_open"), multiprocessing.get_start_method(), billiard.get_start_method())
print(psutil.Process().ppid() > 0)
from devstack.host import guard, inotify, posix
print(os.path.basename(guard.PROGRAM), inotify.bell([], print))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines() == ["False False spawn spawn", "True", "bare_guardian.py None"], ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_devstack_ends_everything_but_daemons(tmp_path: Path, number: signal.Signals) -> None:
    """Nobody can see there to whom a process belongs that has left its group."""
    with Up(nasty(tmp_path), "up", "--no-color", "--no-watch") as up:
        up.until("up$", KINDS)
        assert len(children(up)) >= 10
        up.process.send_signal(number)
        assert up.ends() == (-9 if number == signal.SIGKILL else 128 + number)
        eventually(lambda: not [pid for pid in up.left() if not is_daemon(pid)], "processes are left", within=BOUND)


def is_daemon(pid: int) -> bool:
    try:
        return any(name in Path(f"/proc/{pid}/cmdline").read_bytes() for name in (b"daemon.py", b"holder.py"))
    except OSError:
        return True
