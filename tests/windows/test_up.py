"""Trees that start and stop: through `devstack up`, with real processes, consoles and jobs."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from devstack.host import files, ports
from tests.support.windows import Up

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows, or wine: scripts/test.py --wine")

STUBBORN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if len(sys.argv) == 1:
        subprocess.Popen([sys.executable, __file__, "child"])
    print("stubborn", *sys.argv[1:], flush=True)
    while True:
        time.sleep(0.2)
"""
POLITE = """
    import subprocess, sys, time
    child = None if len(sys.argv) > 1 else subprocess.Popen([sys.executable, __file__, "child"])
    name = sys.argv[-1] if len(sys.argv) > 1 else "parent"
    print(f"up {name}", flush=True)
    try:
        while True:
            time.sleep(0.2)
    except KeyboardInterrupt:
        if child:
            child.wait()
        print(f"bye {name}", flush=True)
"""


def project(directory: Path, procfile: str, **files: str) -> Path:
    place = directory / "my shop (é)"
    place.mkdir()
    (place / "Procfile").write_bytes(procfile.encode())
    for name, text in files.items():
        (place / name.replace("_py", ".py").replace("_toml", ".toml")).write_text(textwrap.dedent(text), "utf-8")
    return place


def test_ctrl_c_reaches_the_whole_tree_of_each_process_once(tmp_path: Path) -> None:
    place = project(tmp_path, "tree: python polite.py\n", polite_py=POLITE)
    with Up(place, "up") as up:
        up.until("up child")
        up.until("all ready")
        up.ctrl_c()
        assert up.ends() == 130
        assert [up.text.count(f"bye {name}") for name in ("child", "parent")] == [1, 1]
        assert "tree.1 stopped" in up.text
        up.leaves_nothing()


def test_a_tree_that_ignores_ctrl_c_is_ended_after_its_grace(tmp_path: Path) -> None:
    settings = "[processes.tree]\ngrace = 1.0\n"
    place = project(tmp_path, "tree: python stubborn.py\n", stubborn_py=STUBBORN, devstack_toml=settings)
    with Up(place, "up") as up:
        up.until("stubborn child")
        up.ctrl_c()
        assert up.ends() == 130
        up.leaves_nothing()


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    settings = "[processes.tree]\ngrace = 1000.0\n"
    place = project(tmp_path, "tree: python stubborn.py\n", stubborn_py=STUBBORN, devstack_toml=settings)
    with Up(place, "up") as up:
        up.until("stubborn child")
        up.ctrl_c()
        up.until("SIGINT: stopping")
        up.ctrl_c()
        assert up.ends() == 130
        up.leaves_nothing()


def test_nothing_is_left_when_devstack_is_killed(tmp_path: Path) -> None:
    place = project(tmp_path, "tree: python stubborn.py\n", stubborn_py=STUBBORN)
    with Up(place, "up") as up:
        up.until("stubborn child")
        assert len(up.left()) >= 2
        up.process.kill()
        up.process.wait()
        up.leaves_nothing()


def test_what_a_crashed_process_leaves_behind_is_ended(tmp_path: Path) -> None:
    crash = """
        import subprocess, sys
        subprocess.Popen([sys.executable, "stubborn.py", "child"])
        print("crashing", flush=True)
        sys.exit(3)
    """
    place = project(
        tmp_path,
        "tree: python crash.py\nother: python polite.py\n",
        crash_py=crash,
        stubborn_py=STUBBORN,
        polite_py=POLITE,
        devstack_toml="max_failures = 1\n",
    )
    with Up(place, "up") as up:
        up.until("error: tree.1 failed")
        up.until("exited 3")
        up.until("up child")
        assert not [each for each in up.left() if "stubborn.py" in each.cmdline()]
        up.ctrl_c()
        up.ends()
        up.leaves_nothing()


def test_a_procfile_and_an_env_file_with_windows_line_ends(tmp_path: Path) -> None:
    show = 'import os; print(repr(os.environ["NAME"]), os.environ["PORT"], flush=True)'
    place = project(tmp_path, "\ufeff# a comment\r\n\r\nshow: python show.py\r\n", show_py=show)
    (place / ".env").write_bytes(b"NAME='two words'\r\nPORT=8765\r\n")
    with Up(place, "up") as up:
        up.until(r"'two words' 8765")
        assert up.ends() == 0


def test_bytes_that_are_no_ascii_arrive_as_they_were(tmp_path: Path) -> None:
    with Up(project(tmp_path, "say: python say.py\n", say_py='print("é ✓ 日本", flush=True)'), "up") as up:
        up.until("é ✓ 日本")
        assert up.ends() == 0


def test_a_cmd_launcher_and_a_script_without_its_suffix_are_found(tmp_path: Path) -> None:
    place = project(tmp_path, "tool: tools/hello there\n", hello_py='import sys; print("hello", *sys.argv[1:])')
    (place / "tools").mkdir()
    (place / "tools" / "hello.cmd").write_bytes(b'@echo off\r\npython "%~dp0..\\hello.py" %1 from cmd\r\n')
    with Up(place, "up") as up:
        up.until("hello there from cmd")
        assert up.ends() == 0


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Up(project(tmp_path, "web: nonesuch --port 1\n"), "up") as up:
        assert up.ends() == 127
        assert "nonesuch: command not found" in up.text


def test_a_second_up_says_who_runs_already(tmp_path: Path) -> None:
    place = project(tmp_path, "tree: python polite.py\n", polite_py=POLITE)
    state = {"DEVSTACK_STATE_DIR": str(tmp_path / "state")}
    with Up(place, "up", env=state) as first:
        first.until("all ready")
        with Up(place, "up", env=state) as second:
            assert second.ends() == 2
            assert "devstack already runs here" in second.text
            assert f"process {first.process.pid} runs" in second.text
        first.ctrl_c()
        assert first.ends() == 130


def test_every_byte_of_a_flood_arrives(tmp_path: Path) -> None:
    flood = """
        import sys
        for n in range(50_000):
            sys.stdout.write(f"line {n} of the flood\\n")
    """
    place = project(tmp_path, "flood: python flood.py\n", flood_py=flood)
    with Up(place, "up", "--no-prefix") as up:
        assert up.ends() == 0
        numbers = [int(line.split()[1]) for line in up.text.splitlines() if line.endswith("of the flood")]
        assert numbers == list(range(50_000))


def test_python_is_that_of_the_projects_environment_and_its_launcher_is_seen_through(tmp_path: Path) -> None:
    """An environment's python.exe starts another process, which is the one that works."""
    show = """
        import os, sys, time
        print("prefix", sys.prefix, "parent", os.getppid(), flush=True)
        try:
            time.sleep(100)
        except KeyboardInterrupt:
            print("bye", flush=True)
    """
    place = project(tmp_path, "show: python show.py\n", show_py=show)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / ".venv")], check=True, timeout=120)
    with Up(place, "up") as up:
        prefix = up.until(r"prefix (.*) parent")[1]
        assert Path(prefix) == place / ".venv"
        up.ctrl_c()
        assert up.ends() == 130
        assert "bye" in up.text
        up.leaves_nothing()


def test_a_process_that_is_killed_hard_from_outside_is_started_again(tmp_path: Path) -> None:
    place = project(tmp_path, "tree: python polite.py\n", polite_py=POLITE)
    with Up(place, "up") as up:
        up.until("up child")
        for process in up.left():
            if process.cmdline()[-1:] == ["polite.py"]:
                process.kill()
        up.until("up parent", times=2)
        up.ctrl_c()
        up.ends()
        up.leaves_nothing()


def test_a_window_that_is_closed_stops_everything(tmp_path: Path) -> None:
    """As the system tells it: by a console event, which wine sends nobody. Here the handler is called as it would be."""
    program = """
        import asyncio, threading
        from devstack.host import console, windows

        async def main():
            told = asyncio.Future()
            with windows.signals(asyncio.get_running_loop(), told.set_result):
                threading.Thread(target=console._handlers[-1], args=(console.CLOSE,), daemon=True).start()
                print("told", await asyncio.wait_for(told, 20), flush=True)

        asyncio.run(main())
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["told", "15"], ran.stderr


def test_a_file_that_somebody_reads_is_replaced_as_soon_as_he_lets_go(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new", "utf-8")
    old.write_text("old", "utf-8")
    reader = old.open()
    threading.Timer(0.3, reader.close).start()
    files.replace(new, old)
    assert old.read_text("utf-8") == "new"
    new.write_text("newer", "utf-8")
    with old.open(), pytest.raises(PermissionError):
        files.replace(new, old)


@pytest.mark.parametrize("environment", [False, True])
def test_a_stack_in_the_background_is_driven_from_elsewhere(tmp_path: Path, environment: bool) -> None:
    place = project(tmp_path, "tree: python polite.py\n", polite_py=POLITE)
    state = {"DEVSTACK_STATE_DIR": str(tmp_path / "state")}
    python = sys.executable
    if environment:
        subprocess.run([python, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True, timeout=120)
        python = str(tmp_path / "v" / "Scripts" / "python.exe")
        paths = os.pathsep.join(path for path in sys.path if path)
        state["PYTHONPATH"] = paths

    def said(*words: str, code: int = 0) -> str:
        with Up(place, *words, env=state, python=python) as ran:
            assert ran.ends() == code, ran.text
            return ran.text

    with Up(place, "up", "-d", env=state, python=python) as up:
        assert up.ends() == 0, up.text
        assert "all ready" in up.text
        try:
            assert "tree.1" in said("ps")
            assert "up child" in said("logs")
            said("restart", "tree")
            assert said("logs").count("up child") == 2
        finally:
            said("down")
        up.leaves_nothing()


def test_lines_of_a_procfile_mean_what_they_mean_elsewhere(tmp_path: Path) -> None:
    show = 'import os, sys; print(*sys.argv[1:], os.environ.get("X"), os.path.basename(os.getcwd()), flush=True)'
    lines = """
        a: X=1 python show.py "two words" 'it is' ${NONE:-usual}
        b: cd sub && python ../show.py b
        c: python show.py c1 && X=2 python show.py c2
        d: python -c "import sys; sys.exit(3)"; python show.py d
        e: ./show.py e
        f: python show.py f | sort
        g: sub\\..\\show.py g
    """
    place = project(tmp_path, textwrap.dedent(lines), show_py=show)
    (place / "sub").mkdir()
    with Up(place, "up", "--no-prefix", env={"REDIS_URL": ""}) as up:
        up.ends()
        for line in ("two words it is usual 1", "b None sub", "c1 None", "c2 2", "d None", "e None", "g None"):
            assert re.search(rf"^{line}", up.text, re.MULTILINE), line
        assert "needs a POSIX shell for |," in up.text


def test_ctrl_c_ends_a_chain_where_it_is(tmp_path: Path) -> None:
    place = project(tmp_path, "tree: python polite.py && python -c 'print(12345)'\n", polite_py=POLITE)
    with Up(place, "up") as up:
        up.until("up child")
        up.ctrl_c()
        assert up.ends() == 130
        assert up.text.count("bye child") == 1
        assert "12345" not in up.text.replace("print(12345)", "")
        up.leaves_nothing()


def test_a_port_that_somebody_has_is_taken_and_one_that_windows_keeps_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert ports.state("127.0.0.1", port) == ports.TAKEN
    assert ports.state("127.0.0.1", port) == ports.FREE

    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "forbidden by its access permissions", None, ports.ACCESS_DENIED)

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert ports.state("127.0.0.1", port) == ports.KEPT


def test_who_holds_a_port_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = f"[processes.web]\nprobe = {{ tcp = {port} }}\n"
        place = project(tmp_path, "web: python polite.py\n", polite_py=POLITE, devstack_toml=settings)
        with Up(place, "up") as up:
            up.until(f"port {port} is")
            assert "up parent" not in up.text
