"""Which Python is found, and how a program is put behind inside/boot.py. Files are real, the systems are named."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from devstack.config.interpreter import BOOT, at_home, boot, find_venv, which, with_venv

posix = pytest.mark.skipif(sys.platform == "win32", reason="the layout of POSIX")


def executable(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def venv(path: Path, system: str = "linux") -> Path:
    executable(path / ("Scripts/python.exe" if system == "win32" else "bin/python"))
    return path


# ---- the environment ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".venv", "venv", "env"])
@pytest.mark.parametrize(("system", "scripts"), [("linux", "bin"), ("win32", "Scripts")])
def test_an_environment_beside_the_command_is_found(tmp_path: Path, name: str, system: str, scripts: str) -> None:
    path = venv(tmp_path / name, system)
    found = find_venv([tmp_path], {"VIRTUAL_ENV": str(venv(tmp_path / "active"))})
    assert found
    assert (found.path, found.bin) == (path, path / scripts)
    assert found.source == f"{name} in {tmp_path}"


def test_the_nearest_environment_wins(tmp_path: Path) -> None:
    venv(tmp_path / ".venv")
    near = venv(tmp_path / "backend" / "env")
    found = find_venv([tmp_path / "backend", tmp_path], {})
    assert found
    assert found.path == near


def test_a_directory_without_a_python_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    assert find_venv([tmp_path], {}) is None
    assert find_venv([tmp_path], {"VIRTUAL_ENV": str(tmp_path / "gone")}) is None


def test_the_active_environment_is_the_last_choice(tmp_path: Path) -> None:
    active = venv(tmp_path / "elsewhere")
    found = find_venv([tmp_path], {"VIRTUAL_ENV": str(active)})
    assert found
    assert (found.path, found.source) == (active, "VIRTUAL_ENV")


@posix
def test_poetry_is_asked_only_in_a_poetry_project_without_an_environment_of_its_own(tmp_path: Path) -> None:
    cached, project = venv(tmp_path / "cache" / "shop-x-py3.12"), tmp_path / "shop"
    project.mkdir()
    asked = tmp_path / "asked"
    executable(tmp_path / "bin" / "poetry", f'#!/bin/sh\necho "$@" >> {asked}\necho {cached}\n')
    environ = {"PATH": str(tmp_path / "bin")}
    (project / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    assert find_venv([project], environ) is None
    assert not asked.exists()
    (project / "pyproject.toml").write_text("[tool.poetry]\nname = 'shop'\n")
    found = find_venv([project], environ)
    assert found
    assert (found.path, found.source, asked.read_text()) == (cached, "poetry env info", "env info -p\n")
    assert find_venv([project], {"PATH": ""}) is None
    own = venv(project / ".venv")
    found = find_venv([project], environ)
    assert found
    assert found.path == own
    assert asked.read_text().count("\n") == 1


@posix
@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "printf '\\377'", ""])
def test_a_poetry_that_knows_nothing_is_no_error(tmp_path: Path, script: str) -> None:
    executable(tmp_path / "poetry", f"#!/bin/sh\n{script}\n")
    (tmp_path / "pyproject.toml").write_text("[tool.poetry]\n")
    assert find_venv([tmp_path], {"PATH": str(tmp_path)}) is None


@posix
def test_a_poetry_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "poetry", "#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "pyproject.toml").write_text("[tool.poetry.dependencies]\n")
    monkeypatch.setattr("devstack.config.interpreter.POETRY_WITHIN", 0.1)
    assert find_venv([tmp_path], {"PATH": str(tmp_path)}) is None


def test_an_unreadable_pyproject_is_no_poetry_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe[\x00")
    assert find_venv([tmp_path], {}) is None


def test_an_environment_is_first_on_the_path_once(tmp_path: Path) -> None:
    found = find_venv([venv(tmp_path / ".venv").parent], {})
    assert found
    env = with_venv({"PATH": "/usr/bin", "PYTHONHOME": "/x", "A": "1"}, found)
    assert env == {"PATH": f"{found.bin}{os.pathsep}/usr/bin", "VIRTUAL_ENV": str(found.path), "A": "1"}
    assert with_venv(env, found) == env
    assert with_venv({"PATH": ""}, found)["PATH"] == str(found.bin)


@posix
def test_a_program_is_looked_for_from_where_the_command_runs(tmp_path: Path) -> None:
    program = executable(tmp_path / "bin" / "celery")
    assert which("celery", {"PATH": f"/nowhere{os.pathsep}bin"}, str(tmp_path)) == str(program)
    assert which("bin/celery", {}, str(tmp_path)) == str(program)
    assert which(str(program), {}, "/") == str(program)
    assert which("celery", {"PATH": "/nowhere"}, str(tmp_path)) is None
    assert which("./celery", {"PATH": str(tmp_path / "bin")}, str(tmp_path)) is None


# ---- through boot ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python manage.py celery", "python BOOT script manage.py celery"),
        ("python3.12 -u -W error -X dev m.py -x", "python3.12 -u -W error -X dev BOOT script m.py -x"),
        ("python -Wd -Xdev -OO m.py", "python -Wd -Xdev -OO BOOT script m.py"),
        ("python -m celery -A shop", "python BOOT module celery -A shop"),
        ("python -um celery worker", "python -u BOOT module celery worker"),
        ("python -uBmcelery worker", "python -uB BOOT module celery worker"),
        ("/opt/v/bin/python -I -m celery", "/opt/v/bin/python -I BOOT module celery"),
        ("pypy3 m.py", "pypy3 BOOT script m.py"),
        ("python --check-hash-based-pycs never m.py", "python --check-hash-based-pycs never BOOT script m.py"),
        ("python -c pass", None),
        ("python -uc pass", None),
        ("python", None),
        ("python -", None),
        ("python -u", None),
        ("python -m", None),
        ("python -W", None),
        ("python --version", None),
        ("python -V m.py", None),
        ("python -x m.py", None),
        ("", None),
        ("no-such-program worker", None),
    ],
)
def test_flags_stay_with_the_interpreter(line: str, expected: str | None) -> None:
    found = boot(line.split(), {"PATH": "/nowhere"}, "/")
    assert found == (expected and [BOOT if word == "BOOT" else word for word in expected.split(" ")])


def test_boot_is_the_file_in_this_package() -> None:
    assert Path(BOOT).is_file()


@posix
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("#!/opt/v/bin/python3.11", ["/opt/v/bin/python3.11"]),
        ("#! /opt/v/bin/python -u", ["/opt/v/bin/python", "-u"]),
        ("#!/usr/bin/env python3", ["PATH/python3"]),
        ("#!/usr/bin/env -S python3 -u -O", ["PATH/python3", "-u", "-O"]),
        ("#!/bin/sh\n'''exec' \"/a path (x)/bin/python3\" \"$0\" \"$@\"\n' '''", ["/a path (x)/bin/python3"]),
        ("#!/bin/sh\n'''exec' '/a path/bin/python' \"$0\" \"$@\"\n' '''", ["/a path/bin/python"]),
        ("#!/bin/sh\n'''exec' /long/bin/python -u \"$0\" \"$@\"\n' '''", ["/long/bin/python", "-u"]),
        (
            "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''",
            ["PATH/python"],
        ),
        ("#!/bin/sh\nexec python -m celery", None),
        ("#!/bin/sh\n'''exec' '/unclosed", None),
        ("#!/usr/bin/env node", None),
        ("#!/usr/bin/env", None),
        ("#!/usr/bin/node", None),
        ("#!", None),
        ("\x7fELF", None),
        ("", None),
    ],
)
def test_a_console_script_runs_on_the_python_of_its_first_line(
    tmp_path: Path, head: str, expected: list[str] | None
) -> None:
    celery = executable(tmp_path / "celery", head)
    for name in ("python3", "node"):
        executable(tmp_path / name)
    words = boot(["celery", "-A", "shop"], {"PATH": str(tmp_path)}, "/")
    python = [each.replace("PATH", str(tmp_path)) for each in expected or []]
    assert words == ([*python, BOOT, "script", str(celery), "-A", "shop"] if expected else None)


@posix
def test_a_script_through_boot_does_what_it_does_without(tmp_path: Path) -> None:
    body = textwrap.dedent("""\
        import sys
        print(sys.argv[1:], sys.flags.dev_mode, sys.flags.optimize, sys.warnoptions, __name__)
        """)
    script = executable(
        tmp_path / "a dir" / "tool", f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n{body}"
    )
    module = executable(tmp_path / "a dir" / "tool_module.py", body)
    for argv in (
        [str(script), "x", "y z"],
        [sys.executable, "-X", "dev", "-OWerror", str(module), "-m"],
        [sys.executable, "-Xdev", "-um", "tool_module", "-u"],
    ):
        booted = boot(argv, os.environ, str(script.parent))
        assert booted
        ran = [
            subprocess.run(each, cwd=script.parent, capture_output=True, text=True, timeout=20)
            for each in (argv, booted)
        ]
        assert ran[0].stdout == ran[1].stdout != ""
        assert ran[0].stderr == ran[1].stderr


# ---- Windows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python manage.py", "OWN manage.py"),
        ("python3 manage.py", "OWN manage.py"),
        ("python.exe manage.py", "OWN manage.py"),
        ("py -3.12 manage.py", "OWN manage.py"),
        ("py manage.py", "OWN manage.py"),
        ("python", "OWN"),
        ("celery worker", "celery worker"),
        ("C:\\Python\\python.exe x.py", "C:\\Python\\python.exe x.py"),
        ("", ""),
    ],
)
def test_on_windows_a_bare_python_is_the_projects(tmp_path: Path, line: str, expected: str) -> None:
    venv(tmp_path, "win32")
    env = {"VIRTUAL_ENV": str(tmp_path), "PATH": ""}
    own = str(tmp_path / "Scripts" / "python.exe")
    assert at_home(line.split(), env, "/", "win32") == [own if word == "OWN" else word for word in expected.split()]
    assert at_home(line.split(), env, "/", "linux") == line.split()


def test_on_windows_without_an_environment_python_is_the_one_on_the_path(tmp_path: Path) -> None:
    python = executable(tmp_path / "python.exe")
    assert at_home(["python3", "x"], {"PATH": str(tmp_path)}, "/", "win32") == [str(python), "x"]
    assert at_home(["python3", "x"], {"PATH": ""}, str(tmp_path / "x"), "win32") == ["python3", "x"]


def test_on_windows_celery_exe_is_run_as_a_module(tmp_path: Path) -> None:
    scripts = venv(tmp_path, "win32") / "Scripts"
    for name in ("celery.exe", "black.exe"):
        executable(scripts / name)
    env = {"VIRTUAL_ENV": str(tmp_path), "PATH": str(scripts)}
    python = str(scripts / "python.exe")
    assert boot(["celery", "worker"], env, "/", "win32") == [python, BOOT, "module", "celery", "worker"]
    assert boot([str(scripts / "celery.exe"), "worker"], env, "/", "win32") == [
        python,
        BOOT,
        "module",
        "celery",
        "worker",
    ]
    assert boot(["python", "-m", "celery"], env, "/", "win32") == [python, BOOT, "module", "celery"]
    assert boot(["black", "."], env, "/", "win32") is None
    assert boot(["missing"], env, "/", "win32") is None
