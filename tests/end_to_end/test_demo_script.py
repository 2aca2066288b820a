"""`devstack demo`, and the scripts that a bare checkout is started with."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.demo.layout import lay_out
from tests.support.ports import free_port
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Windows host is not written yet")

CHECKOUT = Path(__file__).parents[2]


def env() -> dict[str, str]:
    return {"CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}


def test_the_demo_proves_itself_where_no_redis_was_ever_installed(tmp_path: Path) -> None:
    only_python = {"PATH": str(Path(sys.executable).parent)}
    assert shutil.which("redis-server", path=only_python["PATH"]) is None
    arguments = ["demo", "my shop", "--check", "--port", str(free_port())]
    with Up(tmp_path, *arguments, env=env() | only_python) as demo:
        assert demo.ends(within=120) == 0, demo.text
        assert "two queues: 1 × Coffee beans for 12.90 €" in demo.text
        assert "runs valkey" in demo.text
        assert demo.text.rstrip().endswith("demo: passed")
        assert demo.left() == []


def test_a_shop_whose_task_fails_does_not_pass(tmp_path: Path) -> None:
    lay_out(tmp_path / "shop")
    tasks = tmp_path / "shop" / "orders" / "tasks.py"
    tasks.write_text(
        tasks.read_text("utf-8").replace("    send_mail(", "    raise ValueError('no ink')\n    send_mail("), "utf-8"
    )
    with Up(tmp_path, "demo", "shop", "--check", "--port", str(free_port()), env=env()) as demo:
        assert demo.ends(within=120) == 1
        assert "error: the demo did not pass" in demo.text
        assert "no ink" in demo.text
        assert demo.left() == []


def test_a_shop_that_never_gets_ready_does_not_pass(tmp_path: Path) -> None:
    lay_out(tmp_path / "shop")
    (tmp_path / "shop" / "config" / "urls.py").write_text("import nothing_of_that_name\n")
    with Up(tmp_path, "demo", "shop", "--check", "--port", str(free_port()), env=env()) as demo:
        assert demo.ends(within=120) == 1
        assert "before everything was ready" in demo.text
        assert demo.left() == []


def test_without_check_it_stays_until_ctrl_c(tmp_path: Path) -> None:
    with Up(tmp_path, "demo", "--port", str(free_port()), env=env()) as demo:
        demo.until("created the demo shop in .*/demo-shop")
        demo.until("all ready in")
        demo.ctrl_c()
        assert demo.ends() == 130
        assert demo.left() == []


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with Up(tmp_path, "demo", ".") as demo:
        assert demo.ends() == 2
        assert "thesis.txt" in demo.text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy without any environment, in a path with a space."""
    copy = tmp_path / "a checkout"
    copy.mkdir()
    for name in ("scripts", "devstack"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    return copy


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_script_shows_what_pip_said_when_it_fails_and_tries_again_the_next_time(checkout: Path) -> None:
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    for line in ("making .venv ... ", "installing devstack"):
        done = run(sys.executable, checkout / "scripts" / "demo.py", "--check", **nowhere)
        assert done.returncode == 1
        assert line in done.stdout
        assert "ERROR: " in done.stdout
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("error: ")
    assert "making .venv" not in done.stdout


def test_an_environment_is_made_once_and_again_when_pyproject_changes(checkout: Path) -> None:
    """The environment is real; instead of pip, which would need the network, its command is shown."""
    script = checkout / "try.py"
    script.write_text(
        "import sys; sys.path.insert(0, 'scripts'); import environment\n"
        "real = environment.step\n"
        "environment.step = lambda what, command: print(what) if 'install' in command else real(what, command)\n"
        "print(environment.ready('.venv', ['.[demo]']))\n"
    )

    def steps() -> list[str]:
        done = subprocess.run([sys.executable, script], cwd=checkout, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        *before, python = done.stdout.splitlines()
        assert python == str(checkout / ".venv" / "bin" / "python")
        return [line.partition(" ")[0] for line in before]

    assert steps() == ["making", "installing"]
    assert steps() == []
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert steps() == ["installing"]
    # Python was upgraded, and its old path is gone.
    (checkout / ".venv" / "bin" / "python").unlink()
    assert steps() == ["making", "installing"]


def test_an_environment_of_somebody_else_that_does_not_work_is_not_deleted(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()
    done = run(sys.executable, checkout / "scripts" / "demo.py")
    assert done.returncode == 1
    assert "move it away" in done.stderr
    assert (checkout / ".venv" / "mine").exists()


def test_a_python_without_venv_is_told_what_to_install(checkout: Path) -> None:
    (checkout / "sitecustomize.py").write_text("import sys; sys.modules['ensurepip'] = None\n")
    done = run(sys.executable, checkout / "scripts" / "demo.py", PYTHONPATH=str(checkout))
    assert done.returncode == 1
    assert "cannot make virtual environments" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["demo.py", "test.py"])
def test_an_older_python_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    """Older Pythons read these two files up to the check: no syntax in them that came after 3.6, and the check comes first."""
    text = (CHECKOUT / "scripts" / name).read_text("utf-8")
    ast.parse(text, feature_version=(3, 7))
    older = tmp_path / name
    older.write_text(f"import sys\nsys.version_info = (3, 9)\n{text}")
    done = run(sys.executable, older)
    assert done.returncode == 1
    assert done.stderr == "error: devstack needs Python 3.11 or newer, and this is 3.9\n"
