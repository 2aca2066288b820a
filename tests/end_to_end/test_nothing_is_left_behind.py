"""However devstack ends, what it started ends too: counted by an independent look at the process table."""

from __future__ import annotations

import os
import re
import resource
import shlex
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.faults import BOUND, KINDS, children, nasty, running
from tests.support.ports import free_port
from tests.support.redis_server import eventually
from tests.support.up import MARK, Up, devstack, kill_all, marked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process table is read from /proc")
pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals are POSIX")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return nasty(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL])
def test_whatever_ends_devstack_ends_everything(project: Path, number: signal.Signals) -> None:
    with running(project) as up:
        assert len(children(up)) >= 10
        up.process.send_signal(number)
        assert up.ends() == (-9 if number == signal.SIGKILL else 128 + number)
        if number != signal.SIGKILL:
            assert up.left() == []


def test_a_second_ctrl_c_waits_for_nobody_and_leaves_nothing(project: Path) -> None:
    (project / "devstack.toml").write_text("grace = 3600\n")
    with running(project) as up:
        up.ctrl_c()
        up.until("SIGINT: stopping")
        up.ctrl_c()
        assert up.ends() == 130
        assert up.left() == []


def test_a_closed_terminal_ends_everything(project: Path) -> None:
    mark = os.urandom(8).hex()
    env = {**os.environ, MARK: mark, "DEVSTACK_STATE_DIR": str(project / "state")}
    words = ["-m", "devstack", "up", "--no-color", "--no-watch"]
    terminal = pexpect.spawn(sys.executable, words, cwd=str(project), env=env, timeout=60, encoding="utf-8")
    try:
        for _ in range(KINDS):
            terminal.expect(r"\| up\r?\n")
        with suppress(pexpect.ExceptionPexpect):  # it does not wait for us
            terminal.close(force=False)
        eventually(lambda: not marked(mark), "processes are left", within=BOUND)
    finally:
        kill_all(marked(mark))
        terminal.close(force=True)


def test_a_second_up_may_follow_a_kill_9_at_once(project: Path) -> None:
    state = project / "state"
    with Up(project, "up", "forever", state=state) as up:
        up.until("all ready")
        up.process.kill()
        up.ends()
    with Up(project, "up", "forever", state=state) as up:
        up.until("all ready")


def test_a_guardian_that_is_killed_is_missed_by_nobody(project: Path) -> None:
    with Up(project, "up", "forever") as up:
        up.until("all ready")
        for guardian in guardians(up):
            os.kill(guardian, signal.SIGKILL)
        up.ctrl_c()
        assert up.ends() == 130
        assert up.left() == []


def test_what_asks_devstack_to_leave_leaves_its_guardians_alone(project: Path) -> None:
    with Up(project, "up", "forever", "--no-color") as up:
        up.until("all ready")
        for guardian in guardians(up):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                os.kill(guardian, number)
        os.kill(up.process.pid, signal.SIGKILL)
        up.ends()
        eventually(lambda: not up.left(), "processes are left", within=10)


@pytest.mark.parametrize("hurried", [False, True])
def test_a_daemon_is_asked_to_leave_unless_somebody_does_not_want_to_wait(tmp_path: Path, hurried: bool) -> None:
    (tmp_path / "daemon").write_text("trap 'touch asked' TERM\necho up\nwhile :; do sleep 0.05; done\n")
    (tmp_path / "Procfile").write_text("a: setsid sh daemon & trap '' TERM; echo up; while :; do sleep 0.05; done\n")
    with Up(tmp_path, "up", "--no-color") as up:
        up.until("up$", 2)
        up.process.send_signal(signal.SIGINT)
        up.until("SIGINT: stopping")
        if hurried:
            up.process.send_signal(signal.SIGINT)
        else:
            for pid in children(up):
                if b"trap" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        assert up.ends() == 130
        assert up.left() == []
    assert (tmp_path / "asked").exists() is not hurried


@pytest.mark.parametrize("how", ["Ctrl-C", "down"])
def test_who_has_left_its_group_without_its_environment_is_ended_with_its_parent(tmp_path: Path, how: str) -> None:
    """Nothing tells whose it is, once the parent is gone."""
    (tmp_path / "Procfile").write_text("a: env -i setsid -w sh -c 'echo $$ > pid; sleep 1000; true'\n")
    with Up(tmp_path, "up", "--no-color") as up:
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "pid")
        stat = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
        try:
            if how == "down":
                devstack(tmp_path, "down", env=[("DEVSTACK_STATE_DIR", str(up.state))])
            else:
                up.ctrl_c()
            assert up.ends() == (0 if how == "down" else 130)
            assert not stat.exists() or stat.read_text().split()[2] == "Z"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(int(stat.parent.name), signal.SIGKILL)


def test_what_is_left_in_the_background_gets_a_word(tmp_path: Path) -> None:
    helped = "import multiprocessing.resource_tracker as helper; helper.ensure_running()"
    (tmp_path / "Procfile").write_text(f"a: sleep 1000 &\nb: {shlex.quote(sys.executable)} -c '{helped}'\n")
    with Up(tmp_path, "up", "--no-color") as up:
        assert up.ends() == 0
        assert re.search(
            r"a\.1 has left others in the background, which are ended with it; leave out an & at the end", up.text
        )
        assert "b.1 has left" not in up.text
        assert up.left() == []


def test_a_daemon_that_does_not_leave_is_named(tmp_path: Path) -> None:
    (tmp_path / "daemon").write_text("trap '' TERM\necho up\nwhile :; do sleep 0.05; done\n")
    (tmp_path / "Procfile").write_text("a: setsid sh daemon & exec sleep 1000\n")
    with Up(tmp_path, "up", "--no-color") as up:
        up.until("up$")
        up.ctrl_c()
        up.until(r"waiting, for 2 s at most, for what has left its process group: a\.1 \(pid \d+\): sh daemon")
        assert up.ends() == 130
        assert up.left() == []


@pytest.mark.parametrize("which", [0, 1])
def test_kill_9_of_devstack_and_a_guardian_together_leaves_nothing(project: Path, which: int) -> None:
    with Up(project, "up", "--no-color") as up:
        up.until("up$", KINDS)
        victims = [up.process.pid, guardians(up)[which]]
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)  # none of them sees the other go
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        up.ends()
        eventually(lambda: not up.left(), "processes are left", within=10)


def test_what_is_left_when_nobody_could_clean_up_is_found_and_ended(project: Path) -> None:
    state = project / "state"
    with Up(project, "up", "--no-color", state=state) as up:
        up.until("up$", KINDS)
        for pid in [*guardians(up), up.process.pid]:
            os.kill(pid, signal.SIGKILL)
        up.ends()
        assert len(up.left()) >= 6

        found = devstack(project, "doctor", "--orphans", "-C", ".")
        assert found.returncode == 1
        assert "stubborn.1 (pid " in found.stdout
        with Up(project, "up", "--no-color", state=state) as again:
            again.until("^devstack: waiting for what an earlier devstack up left behind: .*stubborn.1")
            again.until("ended what an earlier devstack up left behind: .*stubborn.1")
            assert not up.left()
            again.until("up$", KINDS)
            nothing = devstack(project, "doctor", "--orphans", "-C", ".", "--json")
            assert str(project) not in nothing.stdout, "what a living devstack runs is no orphan"


def test_doctor_ends_orphans(project: Path) -> None:
    with Up(project, "up", "stubborn", "--no-color") as up:
        up.until("up$")
        for pid in [*guardians(up), up.process.pid]:
            os.kill(pid, signal.SIGKILL)
        up.ends()
        ended = devstack(project, "doctor", "--orphans", "-C", ".", "--end")
        assert (ended.returncode, up.left()) == (0, [])
        assert "ended  stubborn.1" in ended.stdout


def test_a_port_that_an_orphan_holds_is_explained_and_can_be_taken_over(tmp_path: Path) -> None:
    port = free_port()
    old, new = tmp_path / "old", tmp_path / "new"
    for each in (old, new):
        each.mkdir()
        python = shlex.quote(sys.executable)
        (each / "Procfile").write_text(f"web: {python} -m http.server --bind 127.0.0.1 {port}\n")
        (each / "devstack.toml").write_text(f"[processes.web]\nprobe = {{ tcp = {port} }}\n")
    with Up(old, "up", "--no-color") as up:
        up.until("all ready")
        for pid in [*guardians(up), up.process.pid]:
            os.kill(pid, signal.SIGKILL)
        up.ends()
        assert up.left()
        with Up(new, "up", "--no-color") as other:
            other.until(rf"port {port} is held by web.1 \(pid \d+\), which a killed devstack left behind")
            other.until("try: devstack up --take-over ends it")
        with Up(new, "up", "--no-color", "--take-over") as taking:
            taking.until("all ready")
            assert not up.left()


def guardians(up: Up) -> list[int]:
    """Its two guardians, the elder first."""

    def found() -> list[int]:
        return sorted(pid for pid in up.left() if b"guardian.py" in Path(f"/proc/{pid}/cmdline").read_bytes())

    eventually(lambda: len(found()) == 2, "there are no two guardians")
    return found()


def test_a_stranger_with_our_pid_of_yesterday_is_never_touched(tmp_path: Path) -> None:
    """A pid that we started is somebody else's by now: its start time differs."""
    from devstack.host import guardian

    stranger = os.getpid()
    assert guardian.born(stranger)
    assert guardian.living(b"DEVSTACK_RUN=nobody", {stranger: "1"}) == {}
    assert stranger in guardian.living(b"DEVSTACK_RUN=nobody", {os.getpgid(0): guardian.born(os.getpgid(0))})


def test_many_processes_get_room_and_their_usual_limit(tmp_path: Path) -> None:
    """300 processes need more open files than the limit they start under, which stays theirs."""
    (tmp_path / "Procfile").write_text("many: read line; echo limit $(ulimit -Sn); exec sleep 1000\n")
    (tmp_path / "devstack.toml").write_text("grace = 5\n")
    few = (400, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, few)
    with Up(tmp_path, "up", "-m", "many=300", "--no-color", before=limit) as up:
        up.until("limit 400$", 300)
        up.ctrl_c()
        assert up.ends() == 130
        assert up.left() == []


def test_what_a_script_starts_in_the_background_stops_as_politely(tmp_path: Path) -> None:
    """Such a devstack ignores SIGINT, as its shell wants it; its processes are asked to leave by one."""
    (tmp_path / "Procfile").write_text(f"web: {shlex.quote(sys.executable)} polite.py\n")
    (tmp_path / "polite.py").write_text(
        "import time\ntry:\n    print('up', flush=True)\n"
        # Not one long sleep: a signal that came right before it would not end it.
        "    while True:\n        time.sleep(0.05)\nexcept KeyboardInterrupt:\n    print('bye', flush=True)\n"
    )
    (tmp_path / "devstack.toml").write_text('[processes.web]\nstop_signal = "INT"\ngrace = 30\n')
    ignoring = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with Up(tmp_path, "up", "--no-color", before=ignoring) as up:
        up.until("up$")
        up.ctrl_c()
        up.process.terminate()
        up.until("bye$", within=20)
        assert up.ends() == 143
