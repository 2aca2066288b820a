"""Everything a person can get wrong, as `devstack up` meets it: a sentence with what, why, where and what to do; never a traceback."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.up import Up, devstack

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Windows host is not written yet")

PYTHON = shlex.quote(sys.executable)
OK = f"{PYTHON} -c pass"


def refused(directory: Path, *arguments: str, code: int = 2) -> str:
    done = devstack(directory, "up", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "error: " in done.stderr
    return done.stderr


def written(directory: Path, procfile: str | bytes, **files: str) -> Path:
    (directory / "Procfile").write_bytes(procfile.encode() if isinstance(procfile, str) else procfile)
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    return directory


def test_no_procfile_shows_one_to_start_from(tmp_path: Path) -> None:
    (tmp_path / "manage.py").touch()
    assert "python manage.py runserver" in refused(tmp_path)


def test_an_empty_procfile(tmp_path: Path) -> None:
    assert "Procfile" in refused(written(tmp_path, "# nothing yet\n"))


def test_a_byte_order_mark_and_crlf_are_fine(tmp_path: Path) -> None:
    written(tmp_path, b"\xef\xbb\xbfone: " + OK.encode() + b"\r\ntwo: " + OK.encode())
    done = devstack(tmp_path, "up", "--no-color")
    assert done.returncode == 0
    assert "one.1 is done" in done.stdout
    assert "two.1 is done" in done.stdout


def test_duplicate_names_with_both_lines(tmp_path: Path) -> None:
    error = refused(written(tmp_path, f"web: {OK}\nweb: {OK}\n"))
    assert "Procfile:2" in error
    assert "1" in error


def test_merge_markers_are_called_what_they_are(tmp_path: Path) -> None:
    error = refused(written(tmp_path, f"<<<<<<< HEAD\nweb: {OK}\n=======\nweb: true\n>>>>>>> branch\n"))
    assert "merge" in error
    assert "Procfile:1" in error


def test_a_quote_that_does_not_end(tmp_path: Path) -> None:
    assert "Procfile:1" in refused(written(tmp_path, "web: echo 'oops\n"))


def test_an_env_file_with_a_quote_that_does_not_end(tmp_path: Path) -> None:
    assert ".env:2" in refused(written(tmp_path, f"web: {OK}\n", _env="A=1\nB='oops\nC=3\n"))


def test_an_env_file_that_is_not_there(tmp_path: Path) -> None:
    assert ".env.local" in refused(written(tmp_path, f"web: {OK}\n"), "-e", ".env.local")


def test_an_unknown_setting_is_corrected(tmp_path: Path) -> None:
    error = refused(written(tmp_path, f"web: {OK}\n", devstack_toml="[processes.web]\ngrce = 3\n"))
    assert "devstack.toml:2" in error
    assert 'did you mean "grace"?' in error


def test_a_dependency_cycle_is_drawn(tmp_path: Path) -> None:
    settings = '[processes.a]\nneeds = ["b"]\n[processes.b]\nneeds = ["a"]\n'
    error = refused(written(tmp_path, f"a: {OK}\nb: {OK}\n", devstack_toml=settings))
    assert "a" in error
    assert "cycle" in error or "circle" in error


@pytest.mark.parametrize("content", [b"\x7fELF\x00\x01\x02", "web: true\n".encode("utf-16")])
def test_a_procfile_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    assert "Procfile" in refused(written(tmp_path, content))


def test_a_procfile_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "Procfile").mkdir()
    assert "Procfile" in refused(tmp_path)


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    written(tmp_path, f"web: {OK}\n")
    (tmp_path / "file").touch()
    done = devstack(tmp_path, "up", env=[("DEVSTACK_STATE_DIR", str(tmp_path / "file" / "state"))])
    assert done.returncode == 2
    assert "DEVSTACK_STATE_DIR" in done.stderr


def test_a_name_that_is_not_there_is_corrected(tmp_path: Path) -> None:
    assert 'did you mean "worker"?' in refused(written(tmp_path, f"worker: {OK}\n"), "wroker")


def test_a_formation_for_nobody(tmp_path: Path) -> None:
    assert 'did you mean "worker"?' in refused(written(tmp_path, f"worker: {OK}\n"), "-m", "wrker=2")


def test_a_missing_program_fails_fast_with_its_line(tmp_path: Path) -> None:
    done = devstack(written(tmp_path, "web: gunicron shop.wsgi\n"), "up", "--no-color")
    assert done.returncode == 127
    assert "error: web.1 failed  (Procfile:1)" in done.stdout
    assert "gunicron" in done.stdout
    assert "starts again" not in done.stdout


def test_a_missing_package_fails_fast_with_the_fix(tmp_path: Path) -> None:
    done = devstack(written(tmp_path, f"web: {PYTHON} -m nosuchpackage\n"), "up", "--no-color", "--exit-on-failure")
    assert done.returncode == 1
    assert "try: install it into the project's environment: pip install nosuchpackage" in done.stdout


def test_a_port_in_use_names_its_owner(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        procfile = f"web: {PYTHON} -m http.server {port}\n"
        settings = f"[processes.web.probe]\nhttp = '/'\nport = {port}\n"
        done = devstack(written(tmp_path, procfile, devstack_toml=settings), "up", "--no-color")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"port {port} is held by python" in done.stdout


def test_a_second_up_in_the_same_project_is_refused(tmp_path: Path) -> None:
    written(tmp_path, f"web: {PYTHON} -c 'import signal; signal.pause()'\n")
    state = tmp_path / "state"
    with Up(tmp_path, "up", "--no-color", state=state) as first:
        first.until("all ready")
        second = devstack(tmp_path, "up", env=[("DEVSTACK_STATE_DIR", str(state))])
        assert second.returncode == 2
        assert f"process {first.process.pid} runs the stack" in second.stderr
        assert "already runs here since" in second.stderr
        first.ctrl_c()
        assert first.ends() == 130
    with Up(tmp_path, "up", "--no-color", state=state) as third:
        third.until("all ready")


def test_logs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    devstack(written(tmp_path, "one: echo hello\n"), "up")
    (log,) = tmp_path.parent.rglob("one.1.log")
    log.unlink()
    log.mkdir()
    done = devstack(tmp_path, "logs", "one")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: cannot read {log}: Is a directory")


def test_a_wrong_value_in_a_variable_is_looked_for_there(tmp_path: Path) -> None:
    written(tmp_path, f"web: {OK}\n")
    wrong = devstack(tmp_path, "up", env=[("DEVSTACK_PORT", "x")])
    assert wrong.returncode == 2
    assert "It comes from the variable DEVSTACK_PORT." in wrong.stderr
    assert "variable" not in devstack(tmp_path, "up", "-p", "y", env=[("DEVSTACK_PORT", "1000")]).stderr


PRINTING = [["--help"], ["up", "--help"], ["check"], ["check", "--explain"], ["logs", "one"]]


def printed_to(
    target: str, directory: Path, words: list[str], inherited: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """With `target` as a shell writes it; there is a log."""
    devstack(written(directory, "one: echo hello\n"), "up")
    line = f"{PYTHON} -m devstack {shlex.join(words)} {target}"
    environment = {**os.environ, "DEVSTACK_STATE_DIR": str(directory / ".state")}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        pass_fds=inherited,
    )


@pytest.mark.parametrize("words", PRINTING)
def test_an_output_that_is_closed_is_no_reason_to_fall_over(tmp_path: Path, words: list[str]) -> None:
    done = printed_to(">&-", tmp_path, words)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full")
@pytest.mark.parametrize("words", PRINTING)
def test_a_full_disk_behind_the_output_is_called_that(tmp_path: Path, words: list[str]) -> None:
    done = printed_to(">/dev/full", tmp_path, words)
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("words", PRINTING)
def test_when_nobody_reads_a_command_leaves_without_a_word(tmp_path: Path, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = printed_to(f">&{writing}", tmp_path, words, (writing,))
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
