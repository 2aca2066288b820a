"""What devstack cannot have, who it is mistaken for, and how many there may be: nothing is left, nothing hangs."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from devstack.host import orphans, posix
from devstack.host.guard import Guard
from devstack.runtime.output import Look
from tests.support.faults import BOUND, KINDS, children, harm, nasty, nothing_is_left, running
from tests.support.ports import free_port
from tests.support.redis_server import any_server, eventually
from tests.support.stage import Stage, child, gone
from tests.support.up import Up

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process table is read from /proc")

BOMB = """
import os, resource, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
room = 100
if os.getuid() == 0:  # for whom the limit does not hold
    os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)
else:  # the limit counts all threads of the user
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            room += len(os.listdir(f"/proc/{pid}/task")) * (os.stat(f"/proc/{pid}").st_uid == os.getuid())
        except OSError:
            pass
resource.setrlimit(resource.RLIMIT_NPROC, (room, room))
told = False
while True:
    try:
        if os.fork() == 0 and os.getpid() % 2:
            os.setsid()
    except BlockingIOError:
        if not told:
            os.write(1, b"no more\\n")
            told = True
        time.sleep(0.005)
"""
"""Forks for ever and fills each gap at once; half of it in sessions of their own, all deaf to TERM."""
ENDS = {sign * number + base for number in (1, 2, 9, 15) for sign, base in ((1, 128), (-1, 0))}
"""Exit codes of a devstack that a signal has ended, or that has ended for one."""
PYTHON = shlex.quote(sys.executable)


# ---- what cannot be had


def test_too_few_open_files_are_found_before_anything_starts(tmp_path: Path) -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (24, 24))
    with Up(nasty(tmp_path), "up", "--no-color", before=limit) as up:
        assert up.ends(BOUND) == 2
        assert "too few files may be open here: 24" in up.text
        assert up.left() == []


def test_with_just_enough_open_files_everything_works(tmp_path: Path) -> None:
    few = posix.LEAST + KINDS * posix.LEAST_EACH
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (few, few))
    with Up(nasty(tmp_path), "up", "--no-color", "--no-watch", before=limit) as up:
        up.until("up$", KINDS)
        assert "Traceback" not in up.text
        up.process.terminate()
        assert up.ends(BOUND) == 143
        nothing_is_left(up)


def test_open_files_that_run_out_later_are_waited_for(tmp_path: Path) -> None:
    """A process that crashes then cannot be started; once there is room again, it is."""
    with running(nasty(tmp_path, "flaky: echo pid $$; exec sleep 1000")) as up:
        flaky = int(up.until(r"pid (\d+)$")[1])
        up.until("all ready")
        pid, limit = up.process.pid, resource.prlimit(up.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), limit[1]))
        os.kill(flaky, signal.SIGKILL)
        up.until("could not be started: Too many open files; starts again in")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        up.until(r"pid \d+$", 2)
        assert "Traceback" not in up.text
        up.process.terminate()
        assert up.ends(BOUND) == 143


def test_an_end_without_open_files_leaves_nothing_either(tmp_path: Path) -> None:
    with running(nasty(tmp_path)) as up:
        up.until("all ready")
        pid, limit = up.process.pid, resource.prlimit(up.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
        up.process.terminate()
        assert up.ends(BOUND) == 143
        assert "Traceback" not in up.text


def test_what_cannot_be_started_is_named_and_the_rest_runs(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("not a program")
    (tmp_path / "text").write_bytes(b"\x7fELF, or so it says")
    (tmp_path / "text").chmod(0o755)
    (tmp_path / "folder").mkdir()
    (tmp_path / "moved").write_text("#!/old/venv/bin/python\nprint('up')\n")
    (tmp_path / "moved").chmod(0o755)
    more = (
        "moved: ./moved",
        "elsewhere: ./nowhere/program",
        "missing: no-such-program",
        "forbidden: ./plain",
        "folder: ./folder",
        "broken: ./text",
        f"long: /bin/true {'x' * 200_000}",
    )
    with running(nasty(tmp_path, *more)) as up:
        up.until("no-such-program: command not found")
        up.until("./plain: not an executable file")
        up.until("./folder is a directory")
        up.until("text could not be started: Exec format error")
        up.until("try: a script begins with a line that names its interpreter, such as #!/bin/sh")
        up.until("could not be started: Argument list too long")
        up.until("try: put the command into a script")
        up.until("./moved: there is no /old/venv/bin/python, which its first line names")
        up.until("./nowhere/program: no such file")
        up.until(f"try: correct the path; it is meant from {tmp_path}")
        assert "Traceback" not in up.text
        up.process.terminate()
        assert up.ends(BOUND) == 143


def test_a_spawn_for_which_there_is_no_process_free_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only another user than root has such a limit, so the system's answer is imitated."""
    real, answers = posix.argv, iter([BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")])

    def argv(words: Sequence[str], shell: bool, env: Mapping[str, str], cwd: str) -> list[str]:
        for error in answers:
            raise error
        return real(words, shell, env, cwd)

    monkeypatch.setattr(posix, "argv", argv)
    stage = Stage(child("web", "print('up'); import signal; signal.pause()"))

    async def script(stage: Stage) -> None:
        await stage.until("could not be started: Resource temporarily unavailable; starts again in")
        await stage.until(r"\| up")
        stage.supervisor.leave()

    stage.play(script)


def test_an_end_for_which_there_is_no_thread_free_leaves_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are processes to the system's limit, so a child's fork bomb may have used up all of them."""

    async def to_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    run = f"test-{os.urandom(6).hex()}"
    process = subprocess.Popen(["sleep", "1000"], env={**os.environ, orphans.MARKER: run}, start_new_session=True)
    asyncio.run(Guard(run).close(forced=False, tell=print))
    assert process.wait(BOUND) == -signal.SIGTERM


def test_redis_that_is_killed_comes_back(tmp_path: Path) -> None:
    port = free_port()
    server = f"redis: {any_server()} --port {port} --bind 127.0.0.1 --save '' --dir {tmp_path}"
    with running(nasty(tmp_path, server)) as up:
        up.until("redis.1 is ready")
        with Redis(port=port) as client:
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
        up.until("redis.1 is ready", 2)
        with Redis(port=port) as client:
            again = client.info("server")["process_id"]
        up.process.terminate()
        assert up.ends(BOUND) == 143
        # It writes its title over its environment, so that no marker is seen.
        assert gone(again)


# ---- identity, time, number


def test_a_devstack_that_nobody_has_reaped_has_left_orphans_too(tmp_path: Path) -> None:
    """As in a container whose init reaps nobody."""
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    born = Path(f"/proc/{dead.pid}/stat").read_text().rpartition(")")[2].split()[19]
    run = f"{dead.pid}-{born}-{os.urandom(6).hex()}"
    process = subprocess.Popen(["sleep", "1000"], env={**os.environ, orphans.MARKER: run})
    try:
        eventually(lambda: [each.pid for each in orphans.find(run)] == [process.pid], "orphan")
    finally:
        process.kill()
        process.wait()
        dead.wait()


def test_an_orphan_is_one_whose_devstack_was_born_when_it_says(tmp_path: Path) -> None:
    """The pid of a dead devstack is somebody else's by now: the time of birth tells."""
    born = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    for birth, found in ((born, False), (str(int(born) - 1), True)):
        run = f"{os.getpid()}-{birth}-{os.urandom(6).hex()}"
        process = subprocess.Popen(["sleep", "1000"], env={**os.environ, orphans.MARKER: run})
        try:
            eventually(lambda pid=process.pid: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), "sleep")
            assert [each.pid for each in orphans.find(run)] == [process.pid] * found
        finally:
            process.kill()
            process.wait()


def test_a_clock_that_jumps_changes_nothing_but_the_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forth by a day, back by a year, with each look at it."""
    real, jumps = time.time, itertools.cycle((0, 86_400, -31_536_000))
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
    crashes = "import os, signal; print('up', flush=True)\nif os.path.exists('again'): signal.pause()\nopen('again', 'w'); exit(3)"
    stage = Stage(
        child("stubborn", stubborn, grace=0.5),
        child("flaky", crashes, cwd=str(tmp_path)),
        logs=tmp_path,
        look=Look(colour=False, timestamps=True),
    )

    async def script(stage: Stage) -> None:
        await stage.until(r"\| up", 3)
        stage.supervisor.leave()

    stage.play(script)
    assert len(re.findall(rb" up$", (tmp_path / "flaky.1.log").read_bytes(), re.M)) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_fork_bomb_within_its_own_limit_is_cleared(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "bomb.py").write_text(BOMB)
    with running(nasty(tmp_path, f"bomb: {PYTHON} -S bomb.py")) as up:
        up.until("no more$")
        eventually(lambda: len(up.left()) > 50, "bang")
        up.process.send_signal(number)
        assert up.ends(BOUND) == (-9 if number == signal.SIGKILL else 143)


@pytest.mark.parametrize("count", [500, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_great_many_processes_start_and_end(tmp_path: Path, count: int) -> None:
    (tmp_path / "Procfile").write_text("many: echo up; exec sleep 1000\n")
    with Up(tmp_path, "up", "-m", f"many={count}", "--no-color", "--no-watch") as up:
        up.until("up$", count, within=120)
        up.process.terminate()
        assert up.ends(60) == 143
        nothing_is_left(up)


@pytest.mark.soak
@pytest.mark.parametrize("block", range(10))
def test_a_random_schedule_of_signals_leaves_nothing(tmp_path: Path, block: int) -> None:
    """20 of them a block. What two dead guardians leave is found by the next `up`."""

    def once(seed: int) -> str:
        dice = random.Random(seed)
        directory = tmp_path / str(seed)
        directory.mkdir()
        state = directory / "state"
        with Up(nasty(directory), "up", "--no-watch", "--no-color", state=state) as up:
            if dice.random() < 0.7:
                up.until("up$", KINDS)
            time.sleep(dice.uniform(0, 1))
            for _ in range(dice.randint(1, 8)):
                harm(up, dice)
                time.sleep(dice.uniform(0, 0.2))
            if up.process.poll() is None:
                up.process.send_signal(signal.SIGCONT)
                up.process.send_signal(dice.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL]))
            for pid in set(up.left()) - set(children(up)):  # a guardian that somebody stopped goes on one day
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            try:
                assert up.ends(2 * BOUND) in ENDS, "it ended for a reason of its own"
                assert "failed in a way it should not" not in up.text
                # A child may show a traceback of its own, behind its name; and Python one of a Ctrl-C before we are there.
                assert not re.search("^Traceback", up.text, re.M) or up.text.endswith("KeyboardInterrupt\n")
                try:
                    nothing_is_left(up)
                except AssertionError:
                    # Nobody is there who could: only then may the next one have to do it.
                    assert set(up.left()) == set(children(up)), f"a guardian has not ended: {up.left()}"
                    with Up(directory, "up", "--no-watch", "--no-color", state=state) as again:
                        again.until("ended what an earlier devstack up left behind")
                        nothing_is_left(up)
                        again.process.terminate()
                        again.ends(BOUND)
            except AssertionError as error:
                return f"schedule {seed}: {error}\n{up.text}"
        return ""

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(once, range(block * 20, block * 20 + 20)))
    assert [each for each in found if each] == []
