from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import psutil

from devstack.core.health import Answer, Health
from devstack.probes import exec as exec_probe
from tests.support.redis_server import eventually
from tests.support.subjects import subject


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def ask(
    command: str | list[str], *, within: float = 10.0, env: dict[str, str] | None = None, cwd: Path | str = "."
) -> Answer:
    return asyncio.run(exec_probe.ask(subject(env=env, cwd=cwd), command, within))


def test_exit_code_0_is_ready_for_words_and_for_a_line_of_shell() -> None:
    assert ask(python("")).health is Health.READY
    assert ask(shlex.join(python("")) + " && true").health is Health.READY


def test_another_exit_code_comes_with_the_last_line_that_was_printed() -> None:
    answer = ask(python("import sys; print('no tables'); print(file=sys.stderr); sys.exit(3)"))
    assert answer.health is Health.NOT_YET
    assert answer.why.endswith("exited 3: no tables")


def test_no_password_of_the_command_or_its_output_is_shown() -> None:
    address = "postgresql://me:hidden@db/shop"
    failing = python("import sys; print('x' * 177, sys.argv[1]); sys.exit(1)")
    for words in ([*python(""), address], [*failing, address]):
        for command in (words, shlex.join(words)):
            answer = ask(command)
            assert "postgresql://me:***@db/shop" in answer.why
            assert "hidden" not in answer.why
    assert "hidden" not in ask(["no-such-program", "--password=hidden"]).why


def test_it_runs_in_the_directory_and_environment_of_the_process(tmp_path: Path) -> None:
    code = "import os, sys; sys.exit(not (os.environ.get('COLOUR') == 'blue' and os.path.exists('here')))"
    (tmp_path / "here").touch()
    assert ask(python(code), env={"COLOUR": "blue"}, cwd=tmp_path).health is Health.READY
    assert ask(python(code), env={}, cwd=tmp_path).health is Health.NOT_YET


def test_at_the_time_limit_it_dies_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = "import time; time.sleep(60)"
    code = (
        f"import os, subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{c.pid}}'); time.sleep(60)"
    )
    answer = ask(python(code), within=4.0)
    assert answer.health is Health.NOT_YET
    assert answer.why.endswith("has not ended within 4 s")
    assert len(pids.read_text().split()) == 2
    eventually(lambda: not any(_runs(int(pid)) for pid in pids.read_text().split()), "end of the children")


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_dropped_question_leaves_no_process(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    async def drop() -> None:
        task = asyncio.ensure_future(exec_probe.ask(subject(), python(code)))
        await asyncio.to_thread(eventually, lambda: pid.exists() and pid.read_text(), "child")
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(drop())
    eventually(lambda: not _runs(int(pid.read_text())), "end of the child")


def test_a_grandchild_that_keeps_the_output_open_does_not_hold_the_answer() -> None:
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid); sys.exit(4)"
    answer = ask(python(code))
    pid = int(answer.why.rsplit(" ", 1)[1])
    psutil.Process(pid).kill()
    assert " exited 4: " in answer.why


def test_a_missing_program_is_a_sentence_with_a_fix() -> None:
    answer = ask(["no-such-program"])
    assert answer == Answer(
        Health.UNKNOWN, "cannot run the probe no-such-program: no such file or directory", "correct the exec probe"
    )
    assert ask(["a\0b"]).health is Health.UNKNOWN
