"""What may go wrong around devstack, one thing at a time, with children that do not make it easy: nothing is left, nothing hangs."""

from __future__ import annotations

import os
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support.faults import BOUND, KINDS, children, nasty, nothing_is_left, running
from tests.support.redis_server import eventually
from tests.support.up import MARK, Up, kill_all, marked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process table is read from /proc")

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals are POSIX")
PYTHON = shlex.quote(sys.executable)


# ---- stopped and continued


def test_a_stopped_devstack_does_what_it_was_told_once_it_goes_on(tmp_path: Path) -> None:
    with running(nasty(tmp_path)) as up:
        up.process.send_signal(signal.SIGSTOP)
        up.process.send_signal(signal.SIGTERM)
        up.process.send_signal(signal.SIGCONT)
        assert up.ends(BOUND) == 143


def test_a_stopped_devstack_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    with running(nasty(tmp_path)) as up:
        up.process.send_signal(signal.SIGSTOP)
        up.process.kill()
        up.ends(BOUND)


def test_stopped_children_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(nasty(tmp_path)) as up:
        for pid in children(up):
            os.kill(pid, signal.SIGSTOP)
        up.process.terminate()
        assert up.ends(BOUND) == 143


def test_stopped_children_of_a_killed_devstack_are_ended(tmp_path: Path) -> None:
    with running(nasty(tmp_path)) as up:
        for pid in children(up):
            os.kill(pid, signal.SIGSTOP)
        up.process.kill()
        up.ends(BOUND)


def test_ctrl_z_and_fg_are_those_of_any_program(tmp_path: Path) -> None:
    project, state = nasty(tmp_path), tmp_path / "state"
    mark = "ctrl-z-" + os.urandom(8).hex()
    env = {**os.environ, MARK: mark, "DEVSTACK_STATE_DIR": str(state), "PS1": "sh> ", "TERM": "dumb"}
    shell = pexpect.spawn(
        "/bin/bash", ["--norc", "--noprofile", "-i"], cwd=str(project), env=env, timeout=20, encoding="utf-8"
    )
    try:
        shell.sendline(f"{PYTHON} -m devstack up --no-color --no-watch")
        for _ in range(KINDS):
            shell.expect(r"\| up\r?\n")
        shell.sendcontrol("z")
        shell.expect("Stopped.*sh> ")
        shell.sendline("fg")
        # Only then does a Ctrl-C mean devstack and not the shell.
        eventually(lambda: os.tcgetpgrp(shell.child_fd) != shell.pid, "foreground")
        shell.sendintr()
        shell.expect("SIGINT: stopping")
        shell.expect("sh> ", timeout=BOUND)
        shell.sendline("echo code $?")
        shell.expect(r"code (\d+)")
        assert shell.match[1] == "130"
        eventually(lambda: marked(mark) == [shell.pid], "processes are left")
    finally:
        kill_all(marked(mark))
        shell.close(force=True)


# ---- the guardians


def test_an_end_without_guardians_leaves_nothing_either(tmp_path: Path) -> None:
    """Nobody but devstack itself is left to look for those that have left their group."""
    with running(nasty(tmp_path)) as up:
        for pid in set(up.left()) - set(children(up)):
            os.kill(pid, signal.SIGKILL)
        up.process.terminate()
        assert up.ends(BOUND) == 143


# ---- the first moments


def test_term_in_the_first_moments_leaves_nothing(tmp_path: Path) -> None:
    dice = random.Random(4)

    def once(n: int, after: float) -> str:
        directory = tmp_path / str(n)
        directory.mkdir()
        with Up(nasty(directory), "up", "--no-watch", state=directory / "state") as up:
            time.sleep(after)
            up.process.terminate()
            try:
                code = up.ends(BOUND)
                nothing_is_left(up)
            except AssertionError as error:
                return f"TERM after {after * 1000:.0f} ms: {error}"
            return "" if code in (143, -15) else f"TERM after {after * 1000:.0f} ms: code {code}:\n{up.text}"

    # devstack itself needs some 150 ms until its first child; the later ones of these meet it while it spawns.
    moments = [dice.uniform(0, 0.15) for _ in range(20)] + [dice.uniform(0.15, 0.6) for _ in range(10)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(once, range(len(moments)), moments))
    assert [each for each in found if each] == []


def test_ctrl_c_in_the_first_moments_is_never_lost(tmp_path: Path) -> None:
    """Nor shown as a traceback, but that Python itself has not begun before the first milliseconds are over."""
    dice = random.Random(4)
    (tmp_path / "Procfile").write_text("a: sleep 1000\n")

    def once(after: float, *words: str) -> str:
        with Up(tmp_path, *words, state=tmp_path / f"state-{len(words)}-{after}") as up:
            time.sleep(after)
            up.ctrl_c()
            try:
                code = up.ends(BOUND)
                nothing_is_left(up)
            except AssertionError as error:
                return f"Ctrl-C after {after * 1000:.0f} ms: {error}"
            ours = re.search("devstack/(cli|config|host|runtime)/", up.text)
            well = code in (130, -2) or (code == 1 and "KeyboardInterrupt" in up.text)
            return "" if well and not ours else f"after {after * 1000:.0f} ms: code {code}:\n{up.text}"

    moments = [dice.uniform(0, 0.4) for _ in range(24)]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda each: once(each, "up"), moments)]
        found += pool.map(lambda each: once(each, "up", "--no-watch"), moments[:12])
    assert [each for each in found if each] == []


def test_two_ups_that_race_are_one(tmp_path: Path) -> None:
    project, state = nasty(tmp_path), tmp_path / "state"
    with Up(project, "up", state=state) as one, Up(project, "up", state=state) as other:
        eventually(lambda: "already runs here" in one.text + other.text, "one that is refused", within=BOUND)
        loser, winner = (one, other) if "already runs here" in one.text else (other, one)
        assert loser.ends() == 2
        assert "devstack already runs here" in loser.text
        winner.until("up$", KINDS)
        assert loser.left() == []
        winner.process.terminate()
        assert winner.ends(BOUND) == 143
        nothing_is_left(winner)


# ---- output


def test_a_reader_that_goes_after_one_line_ends_everything(tmp_path: Path) -> None:
    project = nasty(tmp_path, "chatty: while :; do echo on and on; sleep 0.05; done")
    mark = os.urandom(8).hex()
    env = {**os.environ, MARK: mark, "DEVSTACK_STATE_DIR": str(tmp_path / "state")}
    line = f"{PYTHON} -m devstack up --no-watch | head -1"
    try:
        subprocess.run(["/bin/sh", "-c", line], cwd=project, env=env, capture_output=True, timeout=BOUND)
        eventually(lambda: not marked(mark), "processes are left")
    finally:
        kill_all(marked(mark))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_output_that_nobody_reads_holds_up_no_end(tmp_path: Path, number: signal.Signals) -> None:
    project = nasty(tmp_path, f"flood: {PYTHON} -c \"while True: print('x' * 99)\"")
    mark = os.urandom(8).hex()
    env = {**os.environ, MARK: mark, "DEVSTACK_STATE_DIR": str(tmp_path / "state")}
    words = [sys.executable, "-m", "devstack", "up", "--no-watch"]
    up = subprocess.Popen(words, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert up.stdout
    try:
        eventually(lambda: len(marked(mark)) > KINDS + 3, "stack")
        eventually(lambda: _blocked(mark), "flood that is held up")
        up.send_signal(number)
        assert up.wait(BOUND) == (143 if number == signal.SIGTERM else -9)
        eventually(lambda: not marked(mark), "processes are left")
    finally:
        kill_all(marked(mark))
        up.wait()
        up.stdout.close()


def _blocked(mark: str) -> bool:
    """Whether the one that floods waits to write."""
    for pid in marked(mark):
        try:
            if b"print('x'" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return "pipe" in Path(f"/proc/{pid}/wchan").read_text() or Path(
                    f"/proc/{pid}/syscall"
                ).read_text().startswith("1 ")
        except OSError:
            continue
    return False


def test_a_full_disk_costs_the_log_files_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(nasty(tmp_path), state=state) as up:
        up.process.terminate()
        up.ends(BOUND)
    logs = list(state.rglob("*.log"))
    assert {"devstack.log", "shell.1.log"} <= {each.name for each in logs}
    for each in logs:
        each.unlink()
        each.symlink_to("/dev/full")
    with running(tmp_path, state=state) as up:
        up.until("shell.1 is not logged any more: .*: No space left on device")
        up.process.terminate()
        assert up.ends(BOUND) == 143


def test_the_log_files_go_on_when_there_is_room_again(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("a: while :; do echo line; sleep 0.1; done\n")
    with Up(tmp_path, "up", "--no-color", "--no-watch") as up:
        eventually(lambda: any(each.stat().st_size for each in up.state.rglob("a.1.log")), "line in the log file")
        pid, size = up.process.pid, resource.RLIMIT_FSIZE
        before = resource.prlimit(pid, size)
        resource.prlimit(pid, size, (1, before[1]))
        up.until("a.1 is not logged any more: .*/a.1.log: File too large")
        resource.prlimit(pid, size, before)
        gap = r"what came since \d\d:\d\d:\d\d is missing: File too large"
        up.until(f"a.1 is logged again; {gap}")
        log = next(up.state.rglob("a.1.log")).read_text()
        assert re.search(f"line\n.* devstack: {gap}\n.* line\n", log)


def test_a_state_directory_on_a_full_disk_is_named(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: a file can be made, and nothing written."""
    (tmp_path / "Procfile").write_text("a: sleep 1000\n")
    full = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    with Up(tmp_path, "up", "--no-color", before=full) as up:
        assert up.ends() == 2
        assert f"error: cannot use the directory {up.state}" in up.text
        assert "why: [Errno 27] File too large\n  try: export DEVSTACK_STATE_DIR=" in up.text
