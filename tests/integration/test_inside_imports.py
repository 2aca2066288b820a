"""A program tells which project files it uses and misses, and never runs an older cache of a file that was just saved."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import spares
from tests.support.spares import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the driver has a socket pair")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "tasks.py").write_text("VERSION = 'old'\n")
    (tmp_path / "data").mkdir()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "library.py").write_text("try:\n    import shop.extra\nexcept ImportError:\n    pass\n")
    (tmp_path / "last.py").write_text("")
    return tmp_path


def told(run: Run, kind: str) -> list[str]:
    run.end_of_line()
    return [str(each) for message in run.said("imported") for each in message.get(kind, [])]  # type: ignore[attr-defined]


def program(place: Path, text: str) -> tuple[str, str]:
    (place / "program.py").write_text(text + "\nimport last\n")
    return "script", "program.py"


def test_it_tells_files_modules_and_what_was_looked_for_in_vain(place: Path) -> None:
    words = program(
        place,
        "import sys; sys.path.append('.venv')\nimport json, shop.tasks, library, data\n"
        "for name in ('absent', 'shop.local', 'json.absent'):\n    try: __import__(name)\n    except ImportError: pass\n",
    )
    with spares.made(place, *words, standby=False) as run:
        assert run.process.wait(20) == 0, run.output()
        files, modules, missing = (told(run, kind) for kind in ("files", "modules", "missing"))
    names = ["program.py", "shop/__init__.py", "shop/tasks.py", "last.py"]
    assert files == [str(place / name) for name in names]
    assert {"json", "json.decoder", "library"} <= set(modules)
    assert modules.index("json") < modules.index("json.decoder") < modules.index("library")
    assert not {"shop", "shop.tasks", "data", "last"} & set(modules)
    assert {str(place / name) for name in ("absent", "shop/extra", "shop/local", "data/__init__")} <= set(missing)
    assert not any("json" + os.sep in each or ".venv" in each for each in missing)


def test_what_would_go_before_a_library_counts_as_missing(place: Path) -> None:
    (place / "wave").mkdir()
    words = program(
        place,
        "import sys; sys.path += ['.venv', 'later']\nsys.path.insert(0, 'first')\n"
        "import json.tool, wave, library, shop.tasks, marshal, _io\n",
    )
    with spares.made(place, *words, standby=False) as run:
        assert run.process.wait(20) == 0, run.output()
        missing = {os.path.relpath(each, place) for each in told(run, "missing")}
    assert {"json", "first/json", "library", "first/library", "first/shop", "first/last"} <= missing
    assert {"wave/__init__", "first/wave"} <= missing
    never = {"shop", "last", "wave", "later/json", "later/library", "later/shop", "marshal", "_io", "tool"}
    assert missing - never == missing


def test_each_is_told_once_in_messages_that_fit(place: Path) -> None:
    for number in range(200):
        (place / "shop" / f"m{number}.py").write_text("")
    words = program(
        place,
        "import importlib\nfor n in range(200): importlib.import_module(f'shop.m{n}')\n"
        "for n in range(3):\n    try: import absent\n    except ImportError: pass\n    import last; importlib.reload(last)\n",
    )
    with spares.made(place, *words, standby=False) as run:
        assert run.process.wait(20) == 0, run.output()
        files, missing = told(run, "files"), told(run, "missing")
        assert len(files) == len(set(files)) == 200 + 3
        assert missing.count(str(place / "absent")) == 1
        assert all(len(message.get("modules", [])) <= 40 for message in run.said("imported"))  # type: ignore[arg-type]


def test_before_it_is_ready_all_is_told(place: Path) -> None:
    words = program(
        place,
        "import celery.signals as s, wave\nclass Beat:\n    class scheduler:\n        tick = print\ns.beat_init.send(sender=Beat)",
    )
    with spares.made(place, *words, standby=False) as run:
        run.process.wait(20)
        run.end_of_line()
        kinds = [message["type"] for message in run.messages]
        ready = kinds.index("beat_ready")
        assert "wave" in [m for message in run.messages[:ready] for m in message.get("modules", [])]  # type: ignore[attr-defined]


@pytest.mark.parametrize("standby", [False, True], ids=["cold", "forked"])
def test_forks_of_a_pool_tell_theirs(place: Path, standby: bool) -> None:
    if standby and sys.platform != "linux":
        pytest.skip("spares are forked on Linux alone")
    words = program(
        place,
        "import multiprocessing\ndef work(n):\n    import shop.tasks\n    return shop.tasks.VERSION\n"
        "if __name__ == '__main__':\n    with multiprocessing.get_context('fork').Pool(3) as pool:\n"
        "        print(pool.map(work, range(30), 1))",
    )
    with spares.made(place, *words, standby=standby) as spare:
        if standby:
            spare.message("gate")
            run = spare.fork()
            assert spare.code_of(run) == 0, run.output()
        else:
            run = spare
            assert run.process.wait(20) == 0, run.output()
        assert str(place / "shop" / "tasks.py") in told(run, "files")


def test_forks_never_cut_a_message_nor_wait_when_nobody_reads(place: Path) -> None:
    for number in range(300):
        (place / "shop" / f"m{number}.py").write_text("")
    words = program(
        place,
        "import importlib, os\nfor fork in range(20):\n    if os.fork() == 0:\n"
        "        for n in range(300): importlib.import_module(f'shop.m{n}')\n        os._exit(0)\n"
        "codes = [os.wait()[1] for fork in range(20)]\nprint(codes)",
    )
    with spares.made(place, *words, standby=False) as run:
        with run._news:  # The reader of the line stands still: it has to wait for us.
            assert run.process.wait(60) == 0, run.output()
        run.end_of_line()
        assert run.output().decode() == f"{[0] * 20}\n"
        assert run.garbage == []
        assert run.said("imported")


@pytest.mark.parametrize(
    "other", [".venv/lib/python3/site-packages/x", "node_modules/x", "env/lib/site-packages", ".tox/x"]
)
def test_what_lies_in_the_project_and_belongs_to_others_is_no_project_file(place: Path, other: str) -> None:
    directory = place / other
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "foreign.py").write_text("")
    words = program(place, f"import sys; sys.path.append({str(directory)!r}); import foreign")
    with spares.made(place, *words, standby=False) as run:
        assert run.process.wait(20) == 0, run.output()
        assert str(directory / "foreign.py") not in told(run, "files")
        assert "foreign" in told(run, "modules")


SAVED_TWICE = "import importlib, sys\nimport shop.tasks\nprint(shop.tasks.VERSION, flush=True)\n"


def compiled(place: Path) -> None:
    """The cache of `shop/tasks.py`, made by another program while the file was what it is now."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "shop"], cwd=place, check=True)


def resave(place: Path, text: str) -> None:
    """Another text of the same length, in the same second: to a .pyc it is the same file."""
    file = place / "shop" / "tasks.py"
    before = file.stat()
    file.write_text(text)
    os.utime(file, (before.st_atime, before.st_mtime))


@pytest.mark.parametrize("how", ["cold", "go", "fork"])
def test_a_file_saved_twice_in_a_second_runs_as_it_is(place: Path, how: str) -> None:
    if how != "cold" and sys.platform != "linux":
        pytest.skip("spares are forked on Linux alone")
    words = program(place, SAVED_TWICE)
    os.utime(place / "shop" / "tasks.py", (time.time() + 30,) * 2)  # So that it is fresh however slow this test is.
    compiled(place)
    env = {"PYTHONDONTWRITEBYTECODE": ""}
    with spares.made(place, *words, env=env, standby=how != "cold") as spare:
        if how == "cold":
            spare.process.wait(20)
        resave(place, "VERSION = 'new'\n")
        if how == "cold":
            with spares.made(place, *words, env=env, standby=False) as again:
                assert again.process.wait(20) == 0
                assert again.output() == b"new\n"
            return
        spare.message("gate")
        run: Run = spare.fork() if how == "fork" else spare.go()
        assert (spare.code_of(run) if how == "fork" else run.process.wait(20)) == 0
        assert run.output() == b"new\n"


def test_python_itself_would_run_the_old_text(place: Path) -> None:
    """The trap is there: without it the test above could not fail."""
    program(place, SAVED_TWICE)
    os.utime(place / "shop" / "tasks.py", (time.time() + 30,) * 2)
    compiled(place)
    resave(place, "VERSION = 'new'\n")
    done = subprocess.run([sys.executable, "program.py"], cwd=place, capture_output=True, timeout=60)
    assert done.stdout == b"old\n"


def test_of_a_fresh_file_no_cache_is_written_and_of_older_ones_it_is(place: Path) -> None:
    words = program(place, "import shop.tasks, shop")
    os.utime(place / "shop" / "__init__.py", (1, 1))
    os.utime(place / "shop" / "tasks.py", (time.time() + 30,) * 2)
    with spares.made(place, *words, env={"PYTHONDONTWRITEBYTECODE": ""}, standby=False) as run:
        assert run.process.wait(20) == 0
    assert [each.name.split(".")[0] for each in (place / "shop" / "__pycache__").iterdir()] == ["__init__"]


def test_the_loader_of_a_fresh_file_looks_like_any_other(place: Path) -> None:
    words = program(place, "import shop.tasks\nprint(sorted(vars(shop.tasks.__spec__.loader)))")
    with spares.made(place, *words, standby=False) as run:
        assert run.process.wait(20) == 0
        assert run.output() == b"['name', 'path']\n"


def test_finders_of_the_program_are_asked_as_python_would(place: Path) -> None:
    """Also one that finds a project module by other means, or raises."""
    words = program(
        place,
        "import sys, importlib.util, warnings\n"
        "class Own:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'mapped': return importlib.util.spec_from_file_location(name, 'shop/tasks.py')\n"
        "        if name == 'angry': raise ValueError(name)\n"
        "sys.meta_path.append(Own())\nimport mapped\nprint(mapped.VERSION)\n"
        "try: import angry\nexcept ValueError as error: print(repr(error))\n",
    )
    with spares.made(place, *words, standby=False) as run:
        assert run.process.wait(20) == 0, run.output()
        assert run.output() == b"old\nValueError('angry')\n"
        assert str(place / "shop" / "tasks.py") in told(run, "files")
