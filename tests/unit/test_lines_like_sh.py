"""The lines of real Procfiles against the real /bin/sh, and what a line means on Windows, which has none.

(Random lines are compared in test_command.py.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from devstack.config.command import parse
from devstack.config.load import load
from devstack.config.options import Options
from devstack.core.health import Subject
from devstack.core.model import Launch
from devstack.runtime.launcher import explain_spawn

posix = pytest.mark.skipif(sys.platform == "win32", reason="there is no /bin/sh")

PROGRAMS = (
    "python python3 gunicorn uvicorn daphne celery npm yarn node honcho flask redis-server bin/start newrelic-admin uv"
)
ENV = {
    "PORT": "5000",
    "WEB_CONCURRENCY": "2",
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "EMPTY": "",
    "NAME": "two words",
}
SHOWN = (*ENV, "C_FORCE_ROOT", "DJANGO_ENV", "PYTHONPATH", "NODE_ENV", "APP", "DEBUG")

WILD = r"""
web: gunicorn shop.wsgi --bind 0.0.0.0:$PORT --log-file -
web: gunicorn shop.wsgi:application -b :${PORT:-8000} -w ${WEB_CONCURRENCY:-3} --timeout 120
web: python manage.py runserver 0.0.0.0:${PORT}
web: python manage.py migrate --noinput && gunicorn shop.wsgi
web: cd backend && gunicorn shop.wsgi --bind "0.0.0.0:${PORT:-5000}"
web: newrelic-admin run-program gunicorn shop.asgi:application -k uvicorn.workers.UvicornWorker
web: uvicorn shop.asgi:application --host 0.0.0.0 --port $PORT --reload --reload-dir=./shop
web: daphne -b 0.0.0.0 -p $PORT shop.asgi:application -v2
web: flask --app 'shop:create_app("dev")' run --port=$PORT
web: DJANGO_ENV=dev PYTHONPATH=src:lib python -u manage.py runserver $PORT
web: export DJANGO_ENV=dev; python manage.py runserver
web: export DJANGO_ENV="$NAME" && cd backend && exec python manage.py runserver
release: python manage.py migrate && python manage.py collectstatic --noinput
worker: celery -A shop worker -l info -Q default,emails -n worker@%h
worker: celery -A shop worker --loglevel=info --hostname=worker-${PORT}@%%h -B
worker: C_FORCE_ROOT=1 celery --app=shop.celery:app worker --concurrency=${WEB_CONCURRENCY} --max-tasks-per-child 10
worker: celery -A ${APP:-shop} worker -E -P gevent -c 100 2>&1
worker: cd backend; celery -A shop worker
worker: python manage.py rqworker high default low
worker: env DEBUG=1 python -m celery -A shop worker
beat: celery -A shop beat -l info --scheduler django_celery_beat.schedulers:DatabaseScheduler -s /tmp/celerybeat-schedule
beat: celery -A shop beat --pidfile= --schedule "$NAME/schedule"
flower: celery -A shop flower --port=5555 --basic_auth="admin:s3cr3t!" --url_prefix=flower
redis: redis-server --port 6379 --save "" --appendonly no
assets: npm --prefix frontend run dev -- --port 3000
assets: NODE_ENV=development yarn --cwd ./frontend start
assets: cd frontend && npm run watch
bot: node --max-old-space-size=4096 bot.js $EMPTY $NAME
job: bin/start
clock: python -c 'import time; print("tick"); time.sleep(1)'
quoted: python manage.py shell_plus --quiet-load --command "print('it''s')"
escaped: python say.py \$PORT "\$PORT" '$PORT' \"x\" a\ b
comment: gunicorn shop.wsgi # the server
mail: uv run python -m smtpd -n -c DebuggingServer localhost:1025
tail: honcho start -f Procfile.dev --no-prefix web=1,worker=2
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories, and programs that print what they were given."""
    root = tmp_path_factory.mktemp("wild").resolve()
    shows = "".join(f'printf "%s|" "${{{name}-unset}}"\n' for name in SHOWN)
    for name in PROGRAMS.split():
        file = root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/sh\nprintf "%s|" "${{0##*/}}" "$(pwd)" "$@"\n{shows}echo\n')
        file.chmod(0o755)
    for name in ("backend", "frontend"):
        (root / name).mkdir()
    return root


@posix
@pytest.mark.parametrize("line", WILD.strip().splitlines())
def test_a_line_of_a_real_procfile_runs_what_the_shell_runs_and_needs_none(stage: Path, line: str) -> None:
    text = line.partition(": ")[2]
    env = {**ENV, "PATH": f"{stage}:{os.defpath}", "HOME": str(stage)}
    command = parse(text, "Procfile:1")
    assert not command.needs_shell, command.shell_reason
    ran = subprocess.run(["/bin/sh", "-c", text], env=env, cwd=stage, stdout=subprocess.PIPE, text=True, timeout=20)
    ours = ""
    for simple in command.expand(env, str(stage)):
        done = subprocess.run(
            simple.argv, env={**env, **simple.env}, cwd=simple.cwd, stdout=subprocess.PIPE, text=True, timeout=20
        )
        ours += done.stdout
    assert ours == ran.stdout
    assert ours.count("|\n") >= 1


# ---- on Windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (r"venv\Scripts\python manage.py runserver", [r"venv\Scripts\python", "manage.py", "runserver"]),
        (r".\run.cmd ..\data C:\Users\me\x.txt", [r".\run.cmd", r"..\data", r"C:\Users\me\x.txt"]),
        (r'"C:\Program Files\Redis\redis-server.exe" C:\redis.conf', [r"C:\Program Files\Redis\redis-server.exe", r"C:\redis.conf"]),
        (r"%VIRTUAL_ENV%\Scripts\celery -A shop", [r"%VIRTUAL_ENV%\Scripts\celery", "-A", "shop"]),
        (r"C:\\a\\b a\ b \"q\" \$PORT a\*", [r"C:\a\b", "a b", '"q"', "$PORT", "a*"]),
    ],
)  # fmt: skip
def test_the_backslashes_of_a_path_stay_on_windows_and_others_quote(line: str, words: list[str]) -> None:
    (simple,) = parse(line, "Procfile:1", "win32").expand({"PORT": "1"}, os.sep)
    assert simple.argv == words


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab1$A{}:-' \"\t;&=/.,\\~"), max_size=25))
def test_a_line_means_the_same_on_windows_but_for_the_backslashes_of_paths(text: str) -> None:
    def read(system: str) -> object:
        try:
            return parse(text, "Procfile:1", system)
        except Exception as error:
            return f"{error}"

    assume(all(f"\\{char}" not in text for char in "ab1A."))
    assert read("win32") == read("linux")


def test_a_program_in_a_windows_path_is_known(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text(
        "web: venv\\Scripts\\python manage.py runserver\nworker: venv\\Scripts\\celery -A shop worker\n"
    )
    project = load(Options(environ={"DEVSTACK_STATE_DIR": str(tmp_path)}, current=tmp_path, system="win32"))
    assert [service.kind for service in project.services] == ["django runserver", "celery worker"]


@pytest.mark.parametrize(
    ("line", "reason", "fix"),
    [
        ("celery worker | tee log", "|", "leave the pipe out"),
        ("celery worker || true", "||", "write it without one"),
        ("celery worker > log", "a redirection (>)", "leave the redirection out"),
        ("set A=1 && celery worker", "the builtin set", "write NAME=value in front of the command, without set"),
        ("celery -n $(hostname)", "$(…)", "put the value into .env"),
    ],
)
def test_without_a_shell_the_part_that_needs_one_is_named(tmp_path: Path, line: str, reason: str, fix: str) -> None:
    (tmp_path / "Procfile").write_text(f"job: {line}\n")
    project = load(Options(environ={"DEVSTACK_STATE_DIR": str(tmp_path)}, current=tmp_path, system="win32"))
    code, cause = explain_spawn(FileNotFoundError(2, "command not found", "sh"), subject(project.services[0].launch(1)))
    assert code == 127
    assert f"needs a POSIX shell for {reason}," in str(cause)
    assert fix in cause.fix


def subject(launch: Launch) -> Subject:
    return Subject("job.1", 1, None, launch, 0.0)
