"""The supervisor with real children."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import sys
from pathlib import Path

import pytest

from devstack.core import events as e
from devstack.core.model import Launch, ProbeSpec
from devstack.core.record import replace
from devstack.errors import DevstackError
from devstack.runtime.output import PROMPT_AFTER
from tests.support.redis_server import eventually
from tests.support.stage import Stage, child, gone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its children wait and leave by POSIX signals")

FOREVER = "import signal, time\nprint('up')\nsignal.pause()"
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up')
while True: signal.pause()
"""


async def ctrl_c(stage: Stage) -> None:
    stage.supervisor.leave()


def test_everything_that_ends_by_itself_ends_up_too_with_the_first_failures_code() -> None:
    stage = Stage(
        child("good", "print('hello')"),
        child("bad", "raise SystemExit(7)", oneshot=True),
        child("late", "print('bye')", "good"),
    )

    assert stage.play() == 7
    assert stage.lines("good.1") == ["hello"]
    assert stage.lines("late.1") == ["bye"]
    assert "error: bad.1 failed" in stage.text


def test_the_last_lines_are_there_however_fast_it_exits() -> None:
    stage = Stage(child("flood", "print('\\n'.join(map(str, range(20000))))\nprint('no newline', end='')"))

    assert stage.play() == 0
    assert stage.lines("flood.1") == [*map(str, range(20000)), "no newline"]


def test_stdout_and_stderr_keep_their_order() -> None:
    code = "import sys\nfor i in range(100): print(i, file=[sys.stdout, sys.stderr][i % 2], flush=True)"
    stage = Stage(child("both", code))
    stage.play()
    assert stage.lines("both.1") == [*map(str, range(100))]


def test_gates_open_by_a_log_line_and_close_in_reverse_order() -> None:
    base = child(
        "base",
        "import signal, time\nprint('listening')\nsignal.pause()",
        probe=ProbeSpec("log", {"pattern": "listening"}),
    )
    stage = Stage(base, child("app", FOREVER, "base"))

    async def script(stage: Stage) -> None:
        await stage.until("all ready")
        stage.supervisor.leave()

    assert stage.play(script) == 0
    said = stage.lines("devstack")
    assert [line.split()[0] for line in said if " runs" in line or " ready after" in line] == ["base.1", "app.1"]
    assert [line for line in said if line.endswith("stopped")] == ["app.1 stopped", "base.1 stopped"]


def test_a_crash_is_explained_and_tried_again_until_it_fails(tmp_path: Path) -> None:
    stage = Stage(child("web", "print('oops: no route')\nraise SystemExit(3)"), max_failures=2)

    assert stage.play() == 3
    assert "web.1 exited 3: oops: no route; starts again in 500 ms (failure 1 of 2)" in stage.text
    assert "why: exited 3: oops: no route, 2 times in a row" in stage.text


def test_a_missing_program_is_named_and_not_tried_again() -> None:
    service = child(
        "web",
        "gunicron shop.wsgi",
        shell=True,
        probe=ProbeSpec("tcp", {"host": "127.0.0.1", "port": 1}),
        where="Procfile:2",
    )
    stage = Stage(service)

    assert stage.play() == 127
    assert stage.text.count("gunicron: not found") >= 1
    assert "error: web.1 failed  (Procfile:2)" in stage.text
    assert "starts again" not in stage.text


def test_a_tree_is_gone_when_its_last_process_is() -> None:
    shell = (
        f"{shlex.quote(sys.executable)} -c 'import os, signal; print(os.getpid(), flush=True); signal.pause()' & wait"
    )
    stage = Stage(child("web", shell, shell=True))

    async def script(stage: Stage) -> None:
        await stage.until(r"web\.1 +\| \d+")
        stage.supervisor.leave()

    stage.play(script)
    assert gone(int(stage.lines("web.1")[0]))


def test_what_a_crashed_process_leaves_behind_is_ended_before_it_starts_again() -> None:
    shell = f"{shlex.quote(sys.executable)} -c 'import os, signal; print(os.getpid(), flush=True); signal.pause()' & sleep 0.3; exit 4"
    stage = Stage(child("web", shell, shell=True), max_failures=2)

    assert stage.play() == 4
    pids = [int(line) for line in stage.lines("web.1") if line.isdigit()]
    assert len(pids) == 2
    assert all(map(gone, pids))


def test_one_that_ignores_the_polite_signal_is_killed_after_its_grace() -> None:
    stage = Stage(child("web", STUBBORN, grace=0.3))

    async def script(stage: Stage) -> None:
        await stage.until("up")
        stage.supervisor.leave()

    stage.play(script)
    assert "web.1: did not leave within 300 ms, killed" in stage.text


def test_a_second_ctrl_c_does_not_wait_for_the_grace() -> None:
    stage = Stage(child("web", STUBBORN, grace=3600))

    async def script(stage: Stage) -> None:
        await stage.until("up")
        stage.supervisor.leave()
        stage.supervisor.leave(force=True)

    stage.play(script)


def test_stop_in_the_first_moment_leaves_nothing() -> None:
    assert Stage(child("a", FOREVER), child("b", FOREVER)).play(ctrl_c) == 0


def test_a_saved_file_restarts_what_watches_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "node_modules").mkdir()
    stage = Stage(child("worker", FOREVER, watch=("shop",)), child("web", FOREVER), watch=tmp_path)

    async def script(stage: Stage) -> None:
        await stage.until("up", 2)
        for attempt in range(100):  # the watch itself comes up at its own pace: save until it has seen one
            (tmp_path / "shop" / "tasks.py").write_text(f"x = {attempt}")
            try:
                await stage.until("up", 3, within=0.3)
            except AssertionError:
                continue
            break
        stage.supervisor.leave()

    stage.play(script)
    assert "worker.1 restarts: shop/tasks.py changed" in stage.text
    assert "web.1 restarts" not in stage.text


def test_a_prompt_is_shown_before_its_newline_and_the_line_stays_whole() -> None:
    asks = "import time\nprint('Password: ', end='', flush=True)\nopen(0).read()\nimport signal; signal.pause()"
    stage = Stage(child("asks", asks), child("other", "import signal\nsignal.pause()"))

    async def script(stage: Stage) -> None:
        await stage.until(r"asks\.1 +\| Password: $")
        stage.supervisor.leave()

    stage.play(script)
    assert re.search(r"Password: \n", stage.text), "our own line does not stick to the prompt"


def test_a_reader_that_stalls_holds_up_nothing_and_loses_nothing() -> None:
    stage = Stage(child("flood", "for i in range(200000): print(i)"), stalled=True)

    async def script(stage: Stage) -> None:
        await stage.full.wait()
        stage.supervisor.tell(e.StartAsked(()))
        stage.read_on()

    assert stage.play(script) == 0
    assert stage.lines("flood.1") == [*map(str, range(200000))]


def test_stop_works_at_once_while_nobody_reads() -> None:
    stage = Stage(child("flood", "while True: print('x' * 100)"), stalled=True)

    async def script(stage: Stage) -> None:
        await stage.full.wait()
        stage.supervisor.leave()
        await stage.ended.wait()
        stage.read_on()

    stage.play(script)


def test_a_port_in_use_is_found_before_the_spawn_and_its_owner_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stage = Stage(child("web", "print('started')", probe=ProbeSpec("http", {"host": "127.0.0.1", "port": port})))
        assert stage.play() == 1
    assert re.search(rf"why: port {port} is held by python\S* \(pid {os.getpid()}\), not ours", stage.text)
    assert "started" not in stage.text


def test_stdin_given_to_a_process_arrives_and_ends() -> None:
    stage = Stage(child("redis", "import sys\nprint(sys.stdin.read())", stdin=b"port 7000\n"))
    stage.play()
    assert stage.lines("redis.1")[0] == "port 7000"


def test_colours_mark_processes_and_never_bleed() -> None:
    stage = Stage(child("web", "print('\\x1b[31mred')\nprint('plain')"), colour=True)
    stage.play()
    assert "\x1b[31mred\x1b[0m\n" in stage.text
    assert "\x1b[36mweb.1" in stage.text


def test_half_lines_of_two_processes_stay_whole(tmp_path: Path) -> None:
    """Each writes the second half of its line a moment after the first: longer than a chunk, shorter than a prompt."""
    halves = "import time\nfor i in range(12):\n  print(f'<{i}', end='', flush=True); time.sleep(0.05); print('>', flush=True)"
    stage = Stage(child("a", halves), child("b", halves))
    stage.play()
    assert stage.lines("a.1") == stage.lines("b.1") == [f"<{i}>" for i in range(12)]


def test_standard_input_that_is_held_open_neither_ends_nor_says_anything() -> None:
    """As esbuild and tailwindcss do: they watch until their standard input ends."""
    service = child("css", "import sys\nprint('watching')\nsys.stdin.read()\nprint('ended')")
    held = replace(service, launch=lambda n: replace(service.launch(n), open_stdin=True))
    stage = Stage(held, child("end", "import sys\nassert sys.stdin.read() == ''\nprint('at once')"))

    async def script(stage: Stage) -> None:
        await stage.until("watching")
        await stage.until("end.1 is done")
        stage.supervisor.leave()

    stage.play(script)
    assert stage.lines("css.1") == ["watching"]


def test_a_hopeless_command_without_a_probe_fails_at_once_and_nothing_says_ready() -> None:
    stage = Stage(child("web", "exec python -I -S mange.py runserver", shell=True))

    assert stage.play() == 2
    assert "can't open file" in stage.text
    assert "ready" not in stage.text
    assert "starts again" not in stage.text


def test_leaving_for_lack_of_work_names_what_never_started() -> None:
    stage = Stage(
        child("release", "raise SystemExit(3)", oneshot=True),
        child("web", FOREVER, "release"),
        child("worker", FOREVER, "release"),
    )

    assert stage.play() == 3
    assert "nothing is left to run: leaving with exit code 3; web.1 and worker.1 never started" in stage.text


def test_a_restart_says_which_file_changed_also_after_a_failure(tmp_path: Path) -> None:
    stage = Stage(child("worker", "raise SystemExit(3)", oneshot=True), child("web", FOREVER))

    async def script(stage: Stage) -> None:
        await stage.until("error: worker.1 failed")
        stage.supervisor.tell(e.RestartAsked(("worker.1",), "shop/tasks.py changed"))
        await stage.until("error: worker.1 failed", 2)
        stage.supervisor.leave()

    stage.play(script)
    assert "worker.1 restarts: shop/tasks.py changed" in stage.text


def test_a_launch_that_is_no_longer_possible_fails_with_its_reason_and_wedges_nothing() -> None:
    launches = iter([child("web", "raise SystemExit(3)").launch(1)])

    def launch(n: int) -> Launch:
        for made in launches:
            return made
        raise DevstackError("there is no directory sub")

    stage = Stage(replace(child("web", "", probe=ProbeSpec("none")), launch=launch))

    assert stage.play() == 127
    assert "why: there is no directory sub, 2 times in a row" in stage.text


def test_a_line_that_a_flood_follows_is_found_all_the_same() -> None:
    flood = "print('listening on 80')\nprint('x' * 200000)\nimport signal; signal.pause()"
    stage = Stage(child("web", flood, probe=ProbeSpec("log", {"pattern": r"listening on \d+"})))

    async def script(stage: Stage) -> None:
        await stage.until('printed "listening on 80"')
        stage.supervisor.leave()

    stage.play(script)


def test_what_a_lonely_main_process_leaves_behind_is_told_to_leave() -> None:
    """The signal went to the main process alone; it left at once, and its child has heard of nothing."""
    orphan = f"{shlex.quote(sys.executable)} -c 'import os, signal; print(os.getpid(), flush=True); signal.pause()' & exec sleep 1000"
    stage = Stage(child("web", orphan, shell=True, signal_group=False, grace=60))

    async def script(stage: Stage) -> None:
        await stage.until(r"web\.1 +\| \d+")
        stage.supervisor.leave()

    stage.play(script)
    assert "killed" not in stage.text
    assert gone(int(stage.lines("web.1")[0]))


def test_the_polite_signal_is_sent_once_even_to_one_that_is_only_just_starting() -> None:
    counts = """
import signal, time
heard = 0
def hear(*_):
    global heard
    heard += 1
signal.signal(signal.SIGTERM, hear)
print('up', flush=True)
while not heard: time.sleep(0.01)
time.sleep(0.3)
print('heard', heard, flush=True)
"""
    stage = Stage(child("web", counts))

    async def script(stage: Stage) -> None:
        await stage.until("web.1 +\\| up")
        stage.supervisor.tell(e.StopAsked(("web.1",)))
        await stage.until("web.1 stopped")
        stage.supervisor.leave()
        stage.supervisor._end("web.1", 1, polite=True)

    stage.play(script)
    assert "heard 1" in stage.lines("web.1")


def test_a_progress_bar_is_seen_while_it_moves() -> None:
    bar = "import time\nfor i in range(30): print(f'\\r{i}%', end='', flush=True); time.sleep(0.1)\nprint()"
    stage = Stage(child("bar", bar))

    async def script(stage: Stage) -> None:
        await stage.until(r"\r5%")
        assert "\r29%" not in stage.text
        await stage.until(r"\r29%")

    assert stage.play(script) == 0


def test_a_bug_of_ours_ends_the_stack_with_its_traceback_and_leaves_nothing() -> None:
    stage = Stage(child("web", "import os, signal; print(os.getpid(), flush=True); signal.pause()"))

    async def script(stage: Stage) -> None:
        await stage.until(r"web\.1 +\| \d+")
        stage.supervisor.tell("not an event")  # type: ignore[arg-type]

    with pytest.raises(AttributeError):
        stage.play(script)
    eventually(lambda: gone(int(stage.lines("web.1")[0])), "the child is left")


def test_what_we_say_ourselves_shows_no_password() -> None:
    stage = Stage(child("web", "print('cannot reach postgres://app:canary@db/x')\nraise SystemExit(3)"), max_failures=1)
    stage.play()
    ours = "\n".join(stage.lines("devstack"))
    assert "postgres://app:***@db/x" in ours
    assert "canary" not in ours


def test_a_line_that_is_cut_by_a_stalled_reader_is_no_prompt() -> None:
    """We speak ourselves while the pipe stands in the middle of a line; the line stays whole."""
    stage = Stage(child("flood", "for i in range(300000): print(i)"), stalled=True)

    async def script(stage: Stage) -> None:
        await stage.full.wait()
        await asyncio.sleep(3 * PROMPT_AFTER)  # longer than a prompt would have to wait
        stage.output.say("somebody speaks")
        stage.read_on()

    assert stage.play(script) == 0
    assert stage.lines("flood.1") == [*map(str, range(300000))]
