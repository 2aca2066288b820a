"""`devstack check` as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STACK = "release: python manage.py migrate\nweb: gunicorn shop --bind 127.0.0.1:$PORT\nworker: celery -A shop worker\n"


class Shop:
    """A project on disk and `devstack check` in it, as a process of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        programs = path / "bin"
        programs.mkdir()
        for name in ("python", "gunicorn", "celery"):
            (programs / name).touch(0o755)
        self.environ = {
            "PATH": str(programs),
            "DEVSTACK_STATE_DIR": str(path / "state"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def write(self, **files: str) -> None:
        for name, content in files.items():
            (self.path / name.replace("_", ".", 1)).write_text(content)

    def check(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "devstack", "check", *arguments],
            cwd=self.path,
            env={**self.environ, **environ},
            text=True,
            encoding="utf-8",
            capture_output=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.write(Procfile=STACK)
    return made


def test_it_prints_what_the_procfile_has(shop: Shop) -> None:
    done = shop.check()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: Procfile has release, web, worker\n")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[2:]}
    assert "the worker is registered" in rows["worker"]
    assert "celery -A shop worker" in rows["worker"]
    assert "release" in rows["web"]


def test_an_error_goes_to_stderr_with_exit_code_2(shop: Shop) -> None:
    shop.write(Procfile="web : x\n")
    done = shop.check()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "(Procfile:1)" in done.stderr
    assert "try: no space before the colon: web: x" in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_prints_each_value_with_its_source_and_no_secret(shop: Shop) -> None:
    shop.write(**{"_env": "DB_PASSWORD=hunter2\nCELERY_BROKER_URL=redis://:hunter2@localhost/0\n"})
    shop.write(
        devstack_toml="[processes.web]\ngrace = 3\n", Procfile=f"{STACK}beat: celery -A x -b redis://:hunter2@h beat\n"
    )
    done = shop.check("--explain", "-p", "7000")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["port", "7000", "--port"] in rows
    assert ["web.grace", "3", "devstack.toml:2"] in rows
    assert any(row[:1] == ["web.command"] and row[-1] == "Procfile:2" for row in rows)
    assert ["worker.env", "DB_PASSWORD", "***", ".env:1"] in rows
    assert ["worker.env", "CELERY_BROKER_URL", "redis://:***@localhost/0", ".env:2"] in rows
    assert "hunter2" not in done.stdout + done.stderr


def test_json_holds_the_same(shop: Shop) -> None:
    shop.write(**{"_env": "REDIS_URL=redis://:hunter2@localhost/0\n"})
    done = shop.check("--json", "--explain")
    document = json.loads(done.stdout)
    assert [each["name"] for each in document["services"]] == ["release", "web", "worker"]
    assert document["services"][1]["port"] == 5100
    assert {"scope": "", "key": "port", "value": "5000", "source": "default"} in document["explained"]
    assert "hunter2" not in done.stdout


def test_every_option_has_a_variable(shop: Shop) -> None:
    shop.write(**{"Procfile_dev": "one: sleep 1\ntwo: sleep 1\n", "a_env": "A=1\n", "b_env": "B=1\n"})
    done = shop.check(
        "--explain",
        DEVSTACK_PROCFILE="Procfile.dev",
        DEVSTACK_ENV_FILE="a.env,b.env",
        DEVSTACK_PORT="7000",
        DEVSTACK_FORMATION="two=0",
        DEVSTACK_DIRECTORY=".",
        DEVSTACK_ENV_OVERRIDES="1",
    )
    assert done.stdout.startswith("ok: Procfile.dev has one\n"), done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["port", "7000", "DEVSTACK_PORT"] in rows
    assert ["env_files", "a.env,", "b.env", "DEVSTACK_ENV_FILE"] in rows


def test_a_wrong_option_is_an_explanation(shop: Shop) -> None:
    assert shop.check("-p", "high").returncode == 2
    done = shop.check("-m", "wrker=2")
    assert (done.returncode, "did you mean" in done.stderr) == (2, True)
    done = shop.check(DEVSTACK_FORMATION="wrker=2")
    assert "(DEVSTACK_FORMATION)" in done.stderr


def test_notes_go_to_stderr(shop: Shop) -> None:
    shop.write(**{"_env": "ALONE\n"})
    done = shop.check()
    assert done.stderr == "note: .env:1: ALONE has no = and is left out\n"


def test_nothing_is_started_or_written(shop: Shop) -> None:
    shop.write(Procfile="web: touch started\n")
    before = set(shop.path.rglob("*"))
    assert shop.check("--explain").returncode == 0
    assert set(shop.path.rglob("*")) == before


def test_a_program_that_is_not_there_is_noted(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write(Procfile="web: gunicron shop.wsgi\nshell: nosuch | cat\n")
    done = shop.check()
    assert done.returncode == 0
    assert "web: gunicron is not found (Procfile:1)" in done.stderr
    assert "nosuch is" not in done.stderr
