"""`breakpoint()` in the middle of a merged stream, and `devstack attach`: real processes, real workers, a real terminal."""

from __future__ import annotations

import shlex
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.control.messages import encode
from tests.support.control import SLEEPS, Driven, heard, line_to
from tests.support.shop import make_shop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests of Windows have their own folder")

PYTHON = shlex.quote(sys.executable)
JOB = """\
import time

def work(number):
    doubled = number * 2
    breakpoint()
    print("worked", doubled, flush=True)
    print("done", doubled, flush=True)

for number in range(1, 4):
    work(number)
time.sleep(600)
"""
CHAT = f"{PYTHON} -uc \"import itertools, time; [(print('chat', n), time.sleep(0.05)) for n in itertools.count()]\""
UNINSTALLED = f"{PYTHON} -uS job.py"
"""Without site-packages: no devstack can be imported there."""


def project(place: Path, job: str = f"{PYTHON} -u job.py", settings: str = "", **more: str) -> Driven:
    place.mkdir()
    (place / "devstack.toml").write_text(settings)
    (place / "job.py").write_text(JOB)
    return Driven(place, {"job": job, "chat": CHAT, "other": SLEEPS}, env=more)


@pytest.fixture(params=["unix", "tcp", "uninstalled"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driven]:
    more = {"DEVSTACK_CONTROL": "tcp"} if request.param == "tcp" else {}
    job, settings = f"{PYTHON} -u job.py", ""
    if request.param == "uninstalled":
        job, settings = UNINSTALLED, "[processes.job]\nwatch = true\n"
    with project(tmp_path / "project", job, settings, **more) as stack:
        stack.until(r"job\.1 stopped at job\.py:5, type: devstack attach job\.1")
        yield stack


def test_one_stops_the_others_go_on_and_it_goes_on_after_c(stack: Driven) -> None:
    chatted = stack.text.count("chat.1")
    stack.until(r"chat\.1 +\| chat", times=chatted + 10)
    assert stack.rows()["job.1"]["why"] == "stopped at job.py:5: devstack attach job.1"

    done = stack.do("attach", "job", stdin="p doubled\ndoubled = 70\nc\n")
    assert done.returncode == 0, done.stderr
    assert "-> " in done.stdout
    assert "(Pdb) 2\n" in done.stdout
    stack.until("worked 70")

    # Whoever leaves without a word leaves it where it is.
    stack.until("job.1 stopped at", times=2)
    left = stack.do("attach", "job.1", stdin="p doubled\n")
    assert "(Pdb) 4\n" in left.stdout
    assert "job.1 stays where it is" in left.stderr
    again = stack.do("attach", "job.1", stdin="p 'again', doubled\nc\n")
    assert "('again', 4)" in again.stdout
    stack.until("worked 4")


def test_breakpoints_that_are_set_there_stop_it_again_in_the_same_session(stack: Driven) -> None:
    done = stack.do("attach", "job", stdin="b 7\nc\np 'at', doubled\nclear 1\nc\n")
    assert done.returncode == 0, done.stderr
    assert "('at', 2)" in done.stdout
    stack.until("job.1 stopped at job.py:7")
    stack.until("done 2")


def test_ctrl_c_lets_go_of_what_is_stopped_and_it_finishes(stack: Driven) -> None:
    stack.ctrl_c()
    stack.until("job.1 goes on")
    assert stack.ends() == 130
    assert stack.left() == []


@pytest.mark.parametrize("garbage", [b"garbage\n", b"[]\n", b"\xff\n", b"x" * 100_000, b'{"in": 7}\n{"size": "big"}\n'])
def test_a_terminal_that_sends_garbage_is_sent_away_and_the_session_lives(tmp_path: Path, garbage: bytes) -> None:
    with project(tmp_path / "project") as stack:
        stack.until("job.1 stopped at")
        line, extra = line_to(stack.runtime)
        with line:
            line.sendall(encode({"do": "attach", "names": ["job"], **extra}))
            line.sendall(garbage)
            line.shutdown(socket.SHUT_WR)
            heard(line)
        assert "(Pdb) 2\n" in stack.do("attach", stdin="p doubled\nc\n").stdout
        stack.until("worked 2")


def test_a_save_waits_until_it_goes_on(tmp_path: Path) -> None:
    with project(tmp_path / "project", settings="[processes.job]\nwatch = true\n") as stack:
        stack.until("job.1 stopped at")
        file = stack.directory / "job.py"
        file.write_text(JOB.replace("    breakpoint()\n", "").replace('"worked"', '"worked anew"'))
        stack.until(r"job\.1 is reloaded once it goes on \(job\.py\)")
        assert "2\n" in stack.do("attach", stdin="p doubled\nc\n").stdout
        stack.until("worked anew 6")


def test_who_is_at_no_breakpoint_is_not_attached_to(tmp_path: Path) -> None:
    with project(tmp_path / "project") as stack:
        stack.until("job.1 stopped at")
        done = stack.do("attach", "other")
        assert done.returncode == 1
        assert done.stderr.startswith("error: other.1 is at no breakpoint\n  try: write breakpoint()")
        unknown = stack.do("attach", "nobody")
        assert unknown.returncode == 2
        assert 'there is no process "nobody"' in unknown.stderr
    assert stack.do("attach", "job").returncode == 3


def test_a_stopped_process_that_is_killed_ends_the_session(tmp_path: Path) -> None:
    with project(tmp_path / "project") as stack:
        stack.until("job.1 stopped at")
        done = stack.do("attach", "job", stdin="import os; os.kill(os.getpid(), 9)\n")
        assert done.returncode == 0, done.stderr
        stack.until("job.1 stopped at", times=2)  # started again


def test_a_terminal_has_history_and_leaves_with_ctrl_d(tmp_path: Path) -> None:
    import pexpect

    with project(tmp_path / "project") as stack:
        stack.until("job.1 stopped at")
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "devstack", "attach", "job"],
            cwd=str(stack.directory),
            env={**stack.env, "TERM": "xterm"},  # type: ignore[arg-type]
            timeout=30,
        )
        try:
            terminal.expect(r"\(Pdb\) ")
            terminal.sendline("p doubled + 10")
            terminal.expect("12")
            terminal.expect(r"\(Pdb\) ")
            terminal.send("\x1b[A")  # arrow up
            terminal.expect(r"doubled \+ 10")
            terminal.sendline("")
            terminal.expect("12")
            terminal.expect(r"\(Pdb\) ")
            terminal.sendeof()
            terminal.expect("stays where it is")
            terminal.expect(pexpect.EOF)
        finally:
            terminal.close()
        assert terminal.exitstatus == 0
        assert stack.do("attach", "job", stdin="c\n").returncode == 0
        stack.until("worked 2")


def test_a_terminal_is_free_again_when_the_session_ends_without_it(tmp_path: Path) -> None:
    import pexpect

    with project(tmp_path / "project") as stack:
        stack.until("job.1 stopped at")
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "devstack", "attach"],
            cwd=str(stack.directory),
            env={**stack.env, "TERM": "dumb"},  # type: ignore[arg-type]
            timeout=30,
        )
        try:
            terminal.expect(r"\(Pdb\) ")
            terminal.sendline("breakpoint()")
            terminal.expect("stops nothing")
            terminal.expect(r"\(Pdb\) ")
            assert stack.do("stop", "job").returncode == 0
            terminal.expect("job.1 goes on")
            terminal.expect(pexpect.EOF)
        finally:
            terminal.close()


def test_what_a_person_chose_for_breakpoint_is_left_alone(tmp_path: Path) -> None:
    with project(tmp_path / "project", PYTHONBREAKPOINT="0") as stack:
        stack.until("worked 6")
    assert "stopped at" not in stack.text


def test_a_command_beside_the_stack_has_a_debugger_of_its_own(tmp_path: Path) -> None:
    with project(tmp_path / "project") as stack:
        stack.until("job.1 stopped at")
        done = stack.do("run", sys.executable, "-c", "import os; print('at', os.environ.get('PYTHONBREAKPOINT'))")
        assert done.stdout == "at None\n"


def test_web_worker_and_beat_stop_in_a_real_shop(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    shop.edit("catalog/views.py", "    return HttpResponse(", "    breakpoint()\n    return HttpResponse(")
    shop.edit("orders/tasks.py", '    send_mail(f"Your', '    breakpoint()\n    send_mail(f"Your')
    with (shop.path / "config" / "celery.py").open("a") as file:
        file.write("\n\n@beat_init.connect\ndef begins(sender, **_):\n    breakpoint()\n")
    shop.edit(
        "config/celery.py",
        "from celery import Celery",
        "from celery import Celery\nfrom celery.signals import beat_init",
    )
    with Driven(shop.path, None) as stack:
        stack.until(r"beat\.1 stopped at config/celery\.py:\d+, type: devstack attach beat\.1")
        assert stack.do("attach", "beat", stdin="c\n").returncode == 0
        stack.until("all ready")

        ordered = threading.Thread(target=shop.customer().order, daemon=True)
        visited = threading.Thread(target=urllib.request.urlopen, args=(f"{shop.url}healthz",), daemon=True)
        visited.start()
        stack.until(r"web\.1 stopped at catalog/views\.py:\d+")
        asked = stack.do("attach", "web", stdin="p request.path\nc\n")
        assert "'/healthz'" in asked.stdout
        visited.join(30)
        assert not visited.is_alive()

        ordered.start()
        stack.until(r"worker\.1 stopped at orders/tasks\.py:\d+")
        asked = stack.do("attach", "worker", stdin="p order.reserved\nc\n")
        assert "(Pdb) True" in asked.stdout, asked.stdout
        stack.until(r"send_receipt\[[0-9a-f-]{36}\] succeeded")
        ordered.join(30)
        assert not ordered.is_alive()
