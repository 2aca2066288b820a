"""Which stacks get a Redis: from real files to what `up` would start, with a real Celery project where one is asked."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.cli.provide import provide
from devstack.config.load import Project, load
from devstack.config.options import Options
from devstack.core.health import Broker
from devstack.errors import DevstackError
from tests.support.redis_server import free_port, redis_server

CELERY = "web: python manage.py runserver\nworker: celery -A shop worker\n"
HIDDEN = "web: python manage.py runserver\nworker: ./start-worker.sh\n"
Provide = Callable[..., tuple[Project, Broker | None, list[str]]]


@pytest.fixture
def provided(tmp_path: Path) -> Provide:
    """Loads a project with these files and provides for it; what was said comes along."""

    def provide_for(
        files: dict[str, str], /, environ: dict[str, str] | None = None, **options: Any
    ) -> tuple[Project, Broker | None, list[str]]:
        directory = tmp_path / "project"
        directory.mkdir(exist_ok=True)
        for name, content in files.items():
            (directory / name).write_text(content)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        here = {"PATH": path, "DEVSTACK_STATE_DIR": str(tmp_path / "state"), **(environ or {})}
        project = load(replace(Options(environ=here, current=directory), **options))
        said: list[str] = []
        return project, asyncio.run(provide(project, said.append)).broker, said

    return provide_for


def added(project: Project) -> dict[str, tuple[str, ...]]:
    """What each service waits for, when a Redis was added in front of them."""
    return {each.name: each.needs for each in project.services}


def url() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


@pytest.mark.parametrize("options", [{"names": ("web",)}, {"formation": "worker=0"}])
def test_a_worker_that_does_not_run_this_time_still_means_a_broker(provided: Provide, options: dict[str, Any]) -> None:
    broker = url()
    shop = f"from celery import Celery\napp = Celery('shop', broker={broker!r})\n"
    project, found, _ = provided({"Procfile": CELERY, "shop.py": shop}, **options)
    assert (added(project), found and found.url) == ({"redis": (), "web": ("redis",)}, broker)


def test_a_worker_that_does_not_run_concerns_nobody_who_does_not_wait_for_redis(provided: Provide) -> None:
    files = {"Procfile": CELERY + "css: npx tailwindcss --watch\n", "shop.py": "raise SystemExit('never imported')"}
    project, found, said = provided(files, names=("css",))
    assert (list(added(project)), found, said) == (["css"], None, [])


def test_a_line_that_is_left_out_may_be_broken(provided: Provide) -> None:
    project, found, _ = provided(
        {"Procfile": "web: sleep 9\nworker: cd gone && celery -A shop worker\n"}, formation="worker=0"
    )
    assert (list(added(project)), found) == (["web"], None)


@pytest.mark.parametrize("place", [".env", "environment", "devstack.toml", "command"])
def test_a_worker_behind_a_script_gets_the_redis_that_celery_broker_url_names(provided: Provide, place: str) -> None:
    broker, files, environ = url(), {"Procfile": HIDDEN}, {}
    if place == ".env":
        files[".env"] = f"CELERY_BROKER_URL={broker}\n"
    elif place == "devstack.toml":
        files["devstack.toml"] = f"[processes.worker.env]\nCELERY_BROKER_URL = '{broker}'\n"
    elif place == "command":
        files["Procfile"] = HIDDEN.replace("./start", f"CELERY_BROKER_URL={broker} ./start")
    else:
        environ["CELERY_BROKER_URL"] = broker
    project, found, said = provided(files, environ)
    assert added(project) == {"redis": (), "web": ("redis",), "worker": ("redis",)}
    assert found
    assert (found.url, found.ours, project.injected) == (broker, True, {})
    assert len(said) == 1


@pytest.mark.parametrize(
    "variable",
    [
        "CELERY_BROKER_URL=amqp://localhost//",
        "CELERY_BROKER_URL=redis://redis.example.com:6379/0",
        "CELERY_BROKER_URL=",
        "CELERY_BROKER_URL=127.0.0.1:6379",
        "REDIS_URL=redis://127.0.0.1:6379/0",
        "DATABASE_URL=redis://127.0.0.1:6379/0",
    ],
)
def test_another_variable_starts_nothing_and_asks_nobody(provided: Provide, variable: str) -> None:
    project, found, said = provided({"Procfile": HIDDEN, ".env": f"{variable}\n"})
    assert (list(added(project)), found, said) == (["web", "worker"], None, [])


def test_a_process_that_needs_redis_by_the_settings_gets_the_one_of_redis_url(provided: Provide) -> None:
    cache, toml = url(), "[processes.web]\nneeds = ['redis']\n"
    files = {"Procfile": HIDDEN, "devstack.toml": toml, ".env": f"REDIS_URL={cache}\n"}
    project, found, _ = provided(files)
    assert added(project)["web"] == ("redis",)
    assert found
    assert (found.url, project.injected) == (cache, {})
    project, found, _ = provided({**files, ".env": "REDIS_URL=redis://cache.example.com/0\n"})
    assert found is None


def test_a_process_that_needs_redis_by_the_settings_gets_one_at_the_usual_address(
    provided: Provide, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server() as server:
        monkeypatch.setattr("devstack.core.redis_url.DEFAULT", server.url)
        files = {"Procfile": HIDDEN, "devstack.toml": "[processes.web]\nneeds = ['redis']\n"}
        project, found, said = provided(files)
        assert found == Broker(server.url, "devstack.toml:2")
        assert (added(project)["web"], len(said)) == (("redis",), 1)


def test_a_scheme_that_was_forgotten_is_named_with_its_line(provided: Provide) -> None:
    with pytest.raises(DevstackError) as caught:
        provided({"Procfile": CELERY, ".env": "\nCELERY_BROKER_URL=127.0.0.1:18390\n"}, names=("web",))
    assert (caught.value.where, caught.value.fix) == (".env:2", "write redis://127.0.0.1:18390/0")


def test_a_redis_line_saves_outside_of_the_project_and_says_so_once(provided: Provide, tmp_path: Path) -> None:
    port = free_port()
    project, _, _ = provided({"Procfile": f"redis: redis-server --port {port}\n"})
    argv = project.services[0].launch(1).argv
    assert argv[:3] == ("redis-server", "--port", f"{port}")
    directory = Path(argv[-1])
    assert directory.is_dir()
    assert directory.is_relative_to(tmp_path / "state")
    assert [str(directory) in note for note in project.notes] == [True]
