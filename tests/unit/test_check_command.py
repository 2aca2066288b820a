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
        for name in ("python", "python3", "gunicorn", "celery", "sleep", "touch", "sh"):
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
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: Procfile has release, web, worker\n")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[2:] if line}
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
    shop.write(**{"_env": "DB_PASSWORD=hunter2\nCELERY_BROKER_URL=redis://:hunter2@127.0.0.1:1/0\n"})
    shop.write(
        devstack_toml="[processes.web]\ngrace = 3\n",
        Procfile=f"{STACK}beat: celery -A x -b redis://:hunter2@127.0.0.1:1/0 beat\n",
    )
    done = shop.check("--explain", "-p", "7000")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["port", "7000", "--port"] in rows
    assert ["web.grace", "3", "devstack.toml:2"] in rows
    assert any(row[:1] == ["web.command"] and row[-1] == "Procfile:2" for row in rows)
    assert [row for row in rows if "DB_PASSWORD" in row] == [["all.env", "DB_PASSWORD", "***", ".env:1"]]
    assert ["broker", "redis://:***@127.0.0.1:1/0", "Procfile:4"] in rows
    assert not [row for row in rows if "DEVSTACK_RUN" in row]
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
    assert done.stderr.startswith("note: .env:1: ALONE has no = and is left out\n")


def test_nothing_is_started_or_written(shop: Shop) -> None:
    shop.write(Procfile="web: touch started\n")
    before = set(shop.path.rglob("*"))
    assert shop.check("--explain").returncode == 0
    assert set(shop.path.rglob("*")) == before


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write(Procfile="web: gunicron shop.wsgi\nshell: nosuch | cat\njob: python3 nowhere.py --now\n")
    done = shop.check()
    assert done.returncode == 2
    assert "error: web: gunicron is not found  (Procfile:1)\n  try: did you mean" in done.stderr
    assert "error: job: nowhere.py is not found  (Procfile:3)" in done.stderr
    assert "nosuch is" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sh to ask")
def test_a_line_that_the_shell_cannot_read_is_an_error(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write(Procfile="a: if true; then true\nb: for i in 1 2; do echo $i; done | cat\nc: ( exit 3 ) | cat\n")
    done = shop.check()
    assert done.returncode == 2
    assert "error: a: sh cannot read this line  (Procfile:1)\n  why: " in done.stderr
    assert done.stderr.count("cannot read") == 1


def test_what_a_one_shot_may_install_is_only_noted(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write(Procfile="release: sh -c 'true'\nweb: gunicron shop.wsgi\n")
    done = shop.check()
    assert done.returncode == 0
    assert "note: web: gunicron is not found (Procfile:2)" in done.stderr


APP = "from celery import Celery\napp = Celery('shop', broker='redis://:hunter2@127.0.0.1:1/3', backend='cache+memory://')\n"


@pytest.fixture
def real(tmp_path: Path) -> Shop:
    """With a Celery app, and the programs that run these tests."""
    made = Shop(tmp_path)
    made.environ["PATH"] = str(Path(sys.executable).parent)
    made.write(Procfile="worker: celery -A shop worker\nbeat: celery -A shop beat\n", shop_py=APP)
    return made


def test_it_names_the_broker_and_where_it_was_found_and_leaves_no_trace(real: Shop) -> None:
    before = set(real.path.rglob("*"))
    done = real.check("--json", "--explain")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert document["broker"] == {
        "url": "redis://:***@127.0.0.1:1/3",
        "source": "settings of shop",
        "origin": "project",
        "result_backend": "cache+memory://",
        "result_backend_source": "the Celery settings",
    }
    assert document["redis"]["adds"] == "redis"
    assert "nothing answered at 127.0.0.1:1" in " ".join(document["redis"]["says"])
    needs = {each["scope"]: each["value"] for each in document["explained"] if each["key"] == "needs"}
    assert needs == {"worker": "redis", "beat": "redis, worker"}
    assert set(real.path.rglob("*")) == before


@pytest.mark.parametrize(
    ("app", "content", "why", "fix"),
    [
        ("shopp", APP, "No module named 'shopp'", 'did you mean "shop"?'),
        ("shop:nope", APP, "shop has no nope", "-A shop"),
        ("shop", "x = 1\n", "no Celery app there: module 'shop' has no attribute 'celery'", "-A takes the module"),
        ("shop", "import requets\n", "No module named 'requets' (shop.py:1)", "install what provides requets"),
        (
            "shop",
            "import os\nos.environ['MY_THING']\n",
            "KeyError: 'MY_THING' (shop.py:2)",
            "write MY_THING=… into .env",
        ),
        ("shop", "def (\n", "SyntaxError: invalid syntax (shop.py:1)", "mend shop.py:1"),
        ("shop", "raise SystemExit('no')\n", "SystemExit: no (shop.py:1)", "mend shop.py:1"),
        ("shop", "import os\nos._exit(7)\n", "exited 7", ""),
    ],
)
def test_an_app_that_cannot_be_loaded_is_an_error(real: Shop, app: str, content: str, why: str, fix: str) -> None:
    real.write(Procfile=f"worker: celery -A {app} worker\n", shop_py=content)
    done = real.check()
    assert done.returncode == 2
    assert done.stdout.startswith("1 error, see below: Procfile has worker\n")
    assert f"error: worker: the Celery app {app} cannot be loaded  (Procfile:1)\n  why: {why}" in done.stderr
    assert f"try: {fix}" in done.stderr or not fix
    errors = json.loads(real.check("--json").stdout)["errors"]
    assert [each["where"] for each in errors] == ["Procfile:1"]


def test_an_app_in_another_directory_is_pointed_at(real: Shop) -> None:
    (real.path / "backend").mkdir()
    (real.path / "shop.py").rename(real.path / "backend" / "shop.py")
    done = real.check()
    assert done.returncode == 2
    assert "try: cd backend && celery -A shop …" in done.stderr
    assert "worker and beat: " in done.stderr


def test_what_cannot_be_looked_into_is_a_note(real: Shop) -> None:
    real.write(Procfile="worker: docker run shop celery -A shop worker\n")
    (real.path / "bin" / "docker").touch(0o755)
    real.environ["PATH"] += f":{real.path / 'bin'}"
    done = real.check()
    assert done.returncode == 0, done.stderr
    assert "note: worker: its Celery app is not looked into: docker runs it elsewhere (Procfile:1)" in done.stderr


def test_a_secret_of_env_is_not_quoted_in_an_error(shop: Shop) -> None:
    shop.write(**{"_env": "DB_PASSWORD='hunter2\n"})
    done = shop.check()
    assert done.returncode == 2
    assert "DB_PASSWORD" in done.stderr
    assert "hunter2" not in done.stderr
