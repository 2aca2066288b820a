"""`inside/ask.py` reads the Celery settings of a project in the project's own interpreter."""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import celery
import pytest

from devstack.inside.ask import MARKER, first, jsonable, sentence

ASK = Path(__file__).parents[2] / "devstack" / "inside" / "ask.py"


def ask(cwd: Path, *words: str, **env: str) -> dict[str, object]:
    environment = {**os.environ, **env}
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "DJANGO_SETTINGS_MODULE", "APP", "PYTHONPATH"):
        if name not in env:
            environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, str(ASK), *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    assert line.startswith(MARKER)
    answer = json.loads(line[len(MARKER) :])
    assert isinstance(answer, dict)
    return answer


def test_everything_about_the_broker_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import os; print('noise'); os.write(1, b'more noise\\n')\n"
        "from celery import Celery\n"
        "app = Celery('shop', broker='redis://:s3@127.0.0.1:6380/2', backend='redis://127.0.0.1:6380/3')\n"
        "app.conf.update(task_default_queue='main', control_exchange='mine', timezone='Europe/Zurich', task_always_eager=True,\n"
        "    broker_transport_options={'global_keyprefix': 'p:', 'visibility_timeout': 60, 'x': object(),\n"
        "    'deep': {'y': object(), 'z': [1]}},\n"
        "    beat_schedule={'a': {'task': 't', 'schedule': 1}})\n"
    )
    answer = ask(tmp_path, "--app", "shop")
    assert answer.pop("python") == ".".join(map(str, sys.version_info[:3]))
    versions = answer.pop("versions")
    assert isinstance(versions, dict)
    assert versions["celery"]
    assert versions["redis"]
    facts = (tmp_path / "shop.py").stat()
    assert answer == {
        "app": "shop",
        "broker_url": "redis://:s3@127.0.0.1:6380/2",
        "broker_set": True,
        "result_backend": "redis://127.0.0.1:6380/3",
        "broker_transport_options": {"global_keyprefix": "p:", "visibility_timeout": 60, "deep": {"z": [1]}},
        "control_exchange": "mine",
        "task_default_queue": "main",
        "queues": ["main"],
        "beat_scheduler": "celery.beat:PersistentScheduler",
        "beat_entries": 1,
        "task_always_eager": True,
        "worker_pool": "prefork",
        "timezone": "Europe/Zurich",
        "enable_utc": True,
        "files": {str(tmp_path / "shop.py"): [facts.st_mtime_ns, facts.st_size]},
    }


def test_a_default_broker_is_told_from_one_that_was_set(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from celery import Celery\napp = Celery('shop')\n")
    default = ask(tmp_path, "--app", "shop")
    assert (default["broker_set"], str(default["broker_url"]).startswith("amqp://")) == (False, True)
    for extra in ({"CELERY_BROKER_URL": "redis://env/1"}, {}):
        words = [] if extra else ["--broker", "redis://env/1"]
        told = ask(tmp_path, "--app", "shop", *words, **extra)
        assert (told["broker_set"], told["broker_url"]) == (True, "redis://env/1")


def test_without_an_app_celeryconfig_is_read(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("broker_url = 'redis://config/0'")
    assert ask(tmp_path)["broker_url"] == "redis://config/0"
    (tmp_path / "other.py").write_text("broker_url = 'redis://other/0'")
    assert ask(tmp_path, "--config", "other")["broker_url"] == "redis://other/0"


def test_a_package_with_a_celery_module_is_found_as_celery_finds_it(tmp_path: Path) -> None:
    package = tmp_path / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "celery.py").write_text("from celery import Celery\napp = Celery('deep', broker='redis://deep/0')\n")
    assert ask(tmp_path / "src", "--app", "shop")["app"] == "deep"
    assert ask(tmp_path, "--workdir", "src", "--app", "shop.celery:app")["app"] == "deep"


def test_django_settings_are_read_with_and_without_a_celery_module(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "__init__.py").write_text("")
    (site / "settings.py").write_text(
        "SECRET_KEY = 'x'\nCELERY_BROKER_URL = 'redis://django/0'\nCELERY_TASK_DEFAULT_QUEUE = 'q'\n"
    )
    mine = tmp_path / "mysite"
    site.rename(mine)
    answer = ask(tmp_path, "--django", "mysite.settings")
    assert (answer["broker_url"], answer["task_default_queue"]) == ("redis://django/0", "q")
    assert str(mine / "settings.py") in answer["files"]  # type: ignore[operator]
    (mine / "settings.py").write_text("SECRET_KEY = 'x'\nBROKER_URL = 'redis://old/0'\n")
    assert ask(tmp_path, "--django", "mysite.settings")["broker_url"] == "redis://old/0"
    (mine / "celery.py").write_text("from celery import Celery\napp = Celery('own', broker='redis://own/0')\n")
    assert ask(tmp_path, "--django", "mysite.settings")["app"] == "own"


@pytest.mark.parametrize(
    ("source", "words", "error"),
    [
        ("x = 1", ["--app", "nowhere"], "No module named 'nowhere'"),
        ("x = 1", ["--app", "shop"], "no Celery app there: module 'shop' has no attribute 'celery'"),
        ("x = 1", ["--app", "shop:x"], "shop:x is a int, not a Celery app"),
        ("import missing_thing", ["--app", "shop"], "No module named 'missing_thing' (shop.py:1)"),
        ("\ndef f(:\n", ["--app", "shop"], "SyntaxError: invalid syntax (shop.py:2)"),
        ("import os\nos.environ['SECRET_THING']", ["--app", "shop"], "KeyError: 'SECRET_THING' (shop.py:2)"),
        ("import sys\nsys.exit('set X first')", ["--app", "shop"], "SystemExit: set X first (shop.py:2)"),
        ("raise KeyboardInterrupt", ["--app", "shop"], "KeyboardInterrupt (shop.py:1)"),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()\n1/0",
            ["--app", "shop"],
            "ZeroDivisionError: division by zero (shop.py:3)",
        ),
        ("x = 1", ["--django", "nosettings"], "No module named 'nosettings'"),
    ],
)
def test_a_project_that_cannot_be_loaded_is_explained_in_a_sentence(
    tmp_path: Path, source: str, words: list[str], error: str
) -> None:
    (tmp_path / "shop.py").write_text(source)
    answer = ask(tmp_path, *words)
    assert answer["error"] == error
    assert answer["versions"]


DJANGO_APP = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
{more}
"""


@pytest.mark.parametrize(
    ("init", "more"),
    [
        ("", "app.autodiscover_tasks()"),
        ("from .celery import app", "app.autodiscover_tasks()"),
        ("from .celery import app", "print(app.conf.timezone)"),
        ("", "print(app.conf.broker_user)"),
    ],
)
@pytest.mark.parametrize("variable", [{}, {"DJANGO_SETTINGS_MODULE": "shop.settings"}])
def test_an_exception_in_django_settings_is_told_instead_of_what_celery_makes_of_it(
    tmp_path: Path, init: str, more: str, variable: dict[str, str]
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").write_text(init)
    (shop / "celery.py").write_text(DJANGO_APP.format(more=more))
    (shop / "settings.py").write_text("import os\nSECRET_KEY = 'x'\nSTRIPE_KEY = os.environ['STRIPE_KEY']\n")
    for broker in ({}, {"CELERY_BROKER_URL": "redis://env/1"}):
        answer = ask(tmp_path, "--app", "shop", **variable, **broker)
        assert answer["error"] == "KeyError: 'STRIPE_KEY' (shop/settings.py:3)"
    answer = ask(tmp_path, "--app", "shop", STRIPE_KEY="x", CELERY_BROKER_URL="redis://env/1", **variable)
    assert answer["broker_url"] == "redis://env/1"


@pytest.mark.parametrize("name", ["shop", "src.shop"])
def test_an_import_error_in_the_celery_module_of_a_package_names_its_line(tmp_path: Path, name: str) -> None:
    shop = tmp_path.joinpath(*name.split("."))
    shop.mkdir(parents=True)
    (shop / "__init__.py").touch()
    (shop / "celery.py").write_text("\nimport missing_thing\n")
    place = shop.relative_to(tmp_path) / "celery.py"
    assert ask(tmp_path, "--app", name)["error"] == f"No module named 'missing_thing' ({place}:2)"
    (shop / "celery.py").write_text("from .settings import NAME\n")
    (shop / "settings.py").touch()
    answer = ask(tmp_path, "--app", name)
    assert answer["error"] == (f"cannot import name 'NAME' from '{name}.settings' ({shop}/settings.py) ({place}:1)")
    (shop / "celery.py").write_text("x = 1\n")
    assert str(ask(tmp_path, "--app", name)["error"]).startswith("no Celery app there: ")


def test_an_error_deep_in_a_library_names_the_projects_innermost_line(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import conf\n")
    (tmp_path / "conf.py").write_text("import json\n\njson.loads('{')\n")
    assert str(ask(tmp_path, "--app", "shop")["error"]).endswith("(conf.py:3)")


def test_what_cannot_be_loaded_tells_where_it_lies_and_what_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import conf\n")
    conf = tmp_path / "conf.py"
    conf.write_text("import os\nos.environ['SECRET_THING']\n")
    # Nobody opens a source that has been compiled.
    for source in (tmp_path / "shop.py", conf):
        py_compile.compile(str(source), doraise=True)
    answer = ask(tmp_path, "--app", "shop")
    assert answer["where"] == "conf.py:2"
    facts = conf.stat()
    files = answer["files"]
    assert isinstance(files, dict)
    assert set(files) == {str(tmp_path / "shop.py"), str(conf)}
    assert files[str(conf)] == [facts.st_mtime_ns, facts.st_size]
    assert {str(tmp_path), os.path.dirname(os.path.dirname(celery.__file__))} <= set(answer["path"])  # type: ignore[call-overload]
    assert ask(tmp_path, "--app", "nowhere")["where"] == ""


def test_the_answer_can_go_to_a_descriptor_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from celery import Celery\napp = Celery('shop')\n")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as answer:
        done = subprocess.run(
            [sys.executable, str(ASK), "--app", "shop", "--fd", str(writing)],
            cwd=tmp_path,
            pass_fds=[writing],
            capture_output=True,
            timeout=60,
        )
        os.close(writing)
        assert json.loads(answer.read())["app"] == "shop"
    assert done.stdout == b""


def test_the_first_of_several_brokers_is_the_one() -> None:
    assert first(["redis://a", "redis://b"]) == "redis://a"
    assert first("redis://a;redis://b") == "redis://a"
    assert first("sentinel://a;sentinel://b") == "sentinel://a;sentinel://b"
    assert first("") is None
    assert first([]) is None


def test_what_json_cannot_hold_is_left_out() -> None:
    assert jsonable({"a": 1, 2: 3, "b": [object(), None], "c": {"d": {1, 2}}}) == {"a": 1, "b": [None], "c": {}}


def test_a_missing_celery_names_the_interpreter() -> None:
    error = ModuleNotFoundError("No module named 'celery'", name="celery")
    assert sentence(error, "/nowhere") == f"celery is not installed for {sys.executable}"
