"""Chains of programs without a shell mean what /bin/sh makes of them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.config.load import load
from devstack.config.options import Options
from devstack.core.model import Launch

posix = pytest.mark.skipif(sys.platform == "win32", reason="compares with /bin/sh")
SAY = "sh -c 'echo $0 $X $PWD; exit $1'"


def launched(directory: Path, line: str, **environ: str) -> Launch:
    (directory / "Procfile").write_text(f"chain: {line}\n", "utf-8")
    options = Options(current=directory, environ={"PATH": os.environ["PATH"], **environ}, system="win32")
    return load(options).services[0].launch(1)


def ran(argv: list[str], launch: Launch) -> tuple[str, int]:
    done = subprocess.run(argv, env=dict(launch.env), cwd=launch.cwd, capture_output=True, text=True, timeout=30)
    return done.stdout, done.returncode


@posix
@pytest.mark.parametrize("joiner", ["&&", ";"])
def test_which_programs_run_and_how_it_ends_is_as_in_a_shell(tmp_path: Path, joiner: str) -> None:
    for codes in itertools.product((0, 3), repeat=3):
        line = f" {joiner} ".join(f"X={code} {SAY} {number} {code}" for number, code in enumerate(codes))
        launch = launched(tmp_path, line)
        assert not launch.shell
        assert ran(list(launch.argv), launch) == ran(["/bin/sh", "-c", line], launch)


@posix
def test_directories_exports_and_quotes_are_as_in_a_shell(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    line = f"export X='one  two' && {SAY} \"it's\" 0 && cd 'a b' && {SAY} here 0"
    launch = launched(tmp_path, line)
    assert ran(list(launch.argv), launch) == ran(["/bin/sh", "-c", line], launch)


@posix
def test_a_program_that_is_not_there_is_named_with_the_shells_code(tmp_path: Path) -> None:
    launch = launched(tmp_path, "true && nonesuch --x")
    done = subprocess.run(launch.argv, env=dict(launch.env), cwd=launch.cwd, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (127, "nonesuch: command not found\n")


def test_the_line_to_devstack_is_for_the_last_program_alone(tmp_path: Path) -> None:
    show = [sys.executable, "-c", "import os; print(sorted(k for k in os.environ if k.startswith('DEVSTACK_')))"]
    from devstack.config.interpreter import chain

    argv = chain([("&&", str(tmp_path), {}, show)] * 2)
    env = {**os.environ, "DEVSTACK_CHANNEL": "tcp:1:x", "DEVSTACK_ROOTS": "/", "DEVSTACK_RUN": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    first, last = done.stdout.splitlines()
    assert "DEVSTACK_CHANNEL" not in first
    assert "DEVSTACK_RUN" in first
    assert "'DEVSTACK_CHANNEL'" in last
    assert "'DEVSTACK_ROOTS'" in last


def test_a_chain_keeps_its_line_to_devstack_and_gets_no_spare(tmp_path: Path) -> None:
    launch = launched(tmp_path, "python manage.py migrate && python -m celery -A shop worker", VIRTUAL_ENV="")
    assert launch.prelude
    assert launch.channel
    words = json.loads(launch.argv[-1])[-1][-1]
    assert "--pool=solo" in words


@pytest.mark.parametrize("line", ["a | b", "a && b || c", "a; b && c", "a > x && b", "(a; b)"])
def test_what_needs_more_than_a_row_is_left_to_a_shell(tmp_path: Path, line: str) -> None:
    assert launched(tmp_path, line).shell
