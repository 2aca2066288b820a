from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from devstack.config.interpreter import BOOT, boot, find_venv, which, with_venv

posix = pytest.mark.skipif(sys.platform == "win32", reason="executable bits and shebangs")


def make_venv(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "pyvenv.cfg").touch()
    return path


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_the_nearest_venv_wins_and_an_activated_one_comes_after_them(tmp_path: Path) -> None:
    far, near, active = (
        make_venv(tmp_path / "venv"),
        make_venv(tmp_path / "backend" / ".venv"),
        make_venv(tmp_path / "other"),
    )
    environ = {"VIRTUAL_ENV": str(active)}

    found = [
        find_venv(places, environ) for places in ([tmp_path / "backend", tmp_path], [tmp_path], [tmp_path / "empty"])
    ]

    assert [each and each.path for each in found] == [near, far, active]
    assert find_venv([tmp_path / "empty"], {}) is None


def test_a_directory_called_env_that_is_no_venv_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    assert find_venv([tmp_path], {}) is None


def test_activating_puts_it_first_and_forgets_pythonhome(tmp_path: Path) -> None:
    found = find_venv([make_venv(tmp_path / ".venv").parent], {})
    assert found
    env = with_venv({"PATH": "/bin", "PYTHONHOME": "/x"}, found)
    assert env == {"PATH": f"{found.bin}{os.pathsep}/bin", "VIRTUAL_ENV": str(found.path)}


@posix
def test_poetrys_venv_is_asked_for_only_when_the_project_is_poetrys(tmp_path: Path) -> None:
    kept = make_venv(tmp_path / "cache" / "shop-py3")
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "poetry", f"#!/bin/sh\necho {kept}\n")
    environ = {"PATH": str(tmp_path / "bin")}
    assert find_venv([tmp_path], environ) is None

    (tmp_path / "pyproject.toml").write_text("[tool.poetry]\nname = 'shop'\n")
    found = find_venv([tmp_path], environ)
    assert found
    assert (found.path, found.source) == (kept, "poetry env info")

    script(tmp_path / "bin" / "poetry", "#!/bin/sh\nexit 1\n")
    assert find_venv([tmp_path], environ) is None


@posix
def test_a_program_is_looked_for_from_where_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    run = script(tmp_path / "bin" / "run", "#!/bin/sh\n")
    assert which("run", {"PATH": "bin"}, str(tmp_path)) == run
    assert which("./bin/run", {}, str(tmp_path)) == run
    assert which("./bin/missing", {}, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("argv", "booted"),
    [
        (["python", "manage.py", "runserver"], ["python", BOOT, "script", "manage.py", "runserver"]),
        (["python3.12", "-X", "dev", "-W", "error", "a.py"], ["python3.12", "-X", "dev", "-W", "error", BOOT, "script", "a.py"]),
        (["/v/bin/python", "-m", "celery", "-A", "x", "worker"], ["/v/bin/python", BOOT, "module", "celery", "-A", "x", "worker"]),
        (["python", "-c", "print()"], None),
        (["python"], None),
        (["python", "-m"], None),
        (["node", "server.js"], None),
    ],
)  # fmt: skip
def test_boot_stands_between_the_interpreter_with_its_flags_and_the_program(
    argv: list[str], booted: list[str] | None
) -> None:
    assert boot(argv, {"PATH": ""}, "/") == booted


@posix
def test_a_console_script_is_run_by_the_python_in_its_first_line(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path)}
    plain = script(tmp_path / "celery", "#!/v/bin/python3 -I\nimport celery\n")
    long = script(tmp_path / "flower", "#!/bin/sh\n'''exec' \"/my venv/bin/python\" \"$0\" \"$@\"\n' '''\n")
    script(tmp_path / "worker.sh", "#!/bin/sh\ncelery worker\n")
    script(tmp_path / "odd", "#!/usr/bin/env python\n")

    assert boot(["celery", "worker"], env, "/") == ["/v/bin/python3", "-I", BOOT, "script", plain, "worker"]
    assert boot(["flower"], env, "/") == ["/my venv/bin/python", BOOT, "script", long]
    assert boot(["worker.sh"], env, "/") is None
    assert boot(["odd"], env, "/") is None
    assert boot(["missing"], env, "/") is None


@posix
def test_what_pip_writes_today_is_understood_in_a_path_with_spaces(tmp_path: Path) -> None:
    home = tmp_path / "a path" / ".venv"
    venv.create(home, with_pip=True)
    booted = boot(["pip", "--version"], {"PATH": str(home / "bin")}, "/")
    assert booted
    assert booted[0].startswith(str(home / "bin" / "python"))
    assert subprocess.run(booted, capture_output=True, text=True, timeout=60).stdout.startswith("pip ")
