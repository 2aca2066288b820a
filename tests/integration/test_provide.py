"""Which stacks get a Redis: from real files to what `up` would start, with a real Celery project where one is asked."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devstack import host
from devstack.cli.later import Later
from devstack.cli.provide import only_beat, provide
from devstack.config.load import Project, load
from devstack.config.options import Options
from devstack.core import events as e
from devstack.core.health import Answer, Broker, Health
from devstack.core.model import Launch
from devstack.core.record import replace
from devstack.errors import DevstackError
from devstack.probes import told
from devstack.runtime import inputs
from tests.support.ports import free_port
from tests.support.redis_server import redis_server

CELERY = "web: python manage.py runserver\nworker: celery -A shop worker\n"
HIDDEN = "web: python manage.py runserver\nworker: ./start-worker.sh\n"
Provide = Callable[..., tuple[Project, Broker | None, list[str]]]


def loaded(place: Path, files: dict[str, str], environ: dict[str, str] | None = None, **options: Any) -> Project:
    directory = place / "project"
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(content)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    here = {"PATH": path, "DEVSTACK_STATE_DIR": str(place / "state"), **(environ or {})}
    project = load(replace(Options(environ=here, current=directory), **options))
    project.make_directories()
    return project


def unread(place: Path, files: dict[str, str]) -> tuple[Project, Supervised, list[str]]:
    """Provides for a project of which a line keeps the settings from being read."""
    project, said = loaded(place, files), list[str]()
    provided = asyncio.run(provide(project, said.append))
    assert provided.broker is None
    assert provided.later
    return project, Supervised(provided.later), said


@pytest.fixture
def provided(tmp_path: Path) -> Provide:
    """Loads a project with these files and provides for it; what was said comes along."""

    def provide_for(
        files: dict[str, str], /, environ: dict[str, str] | None = None, **options: Any
    ) -> tuple[Project, Broker | None, list[str]]:
        project, said = loaded(tmp_path, files, environ, **options), list[str]()
        return project, asyncio.run(provide(project, said.append)).broker, said

    return provide_for


class Supervised:
    """What `Later` tells a supervisor, and what the process in the place of Redis answers meanwhile."""

    def __init__(self, later: Later) -> None:
        self.later = later
        self.broker: Broker | None = None
        self.told: list[e.Event] = []

    def tell(self, event: e.Event) -> None:
        self.told.append(event)

    @property
    def launch(self) -> Launch:
        return self.later.stand_in.service.launch(1)

    async def answer(self) -> Answer:
        probe = self.launch.probe
        assert probe
        assert probe.how == "told"
        return await told.ask(None, **probe.options)  # type: ignore[arg-type]

    async def mended(self, edit: Callable[[], object], until: Callable[[], object]) -> None:
        """Look again, while somebody edits, until something is so."""
        task = asyncio.create_task(self.later.look_again(self, host.here()))  # type: ignore[arg-type]
        edit()
        try:
            async with asyncio.timeout(20):
                while not until():
                    assert not task.done(), task.exception()
                    await asyncio.sleep(0.02)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


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


# Settings that cannot be read

APP = "from celery import Celery\napp = Celery('shop', {})\n"
WORKER = "web: python manage.py runserver\nworker: celery -A shop worker\n"


def test_what_needs_redis_waits_while_the_settings_cannot_be_read_and_then_gets_the_right_one(tmp_path: Path) -> None:
    broker = url()
    project, supervised, said = unread(tmp_path, {"Procfile": WORKER, "shop.py": "app = (\n"})
    why = "the Celery settings of shop could not be read: SyntaxError: '(' was never closed (shop.py:1)"
    assert added(project) == {"redis": (), "web": ("redis",), "worker": ("redis",)}
    assert said == [f"{why}; what needs Redis starts once it can"]
    shop = project.directory / "shop.py"

    async def history() -> None:
        assert await supervised.answer() == Answer(Health.NOT_YET, why)
        await supervised.mended(lambda: shop.write_text("import json\njson.x\n"), lambda: len(said) > 1)
        assert said[1].endswith("(shop.py:2)")
        assert await supervised.answer() == Answer(Health.NOT_YET, said[1])
        await supervised.mended(lambda: shop.write_text(APP.format(f"broker={broker!r}")), lambda: supervised.told)

    asyncio.run(history())
    assert supervised.broker
    assert (supervised.broker.url, supervised.broker.ours) == (broker, True)
    assert supervised.told == [e.RestartAsked(("redis.1",), "the project's settings can be read now")]
    assert (supervised.launch.argv[1], supervised.launch.probe and supervised.launch.probe.how) == ("-", "redis")
    assert project.injected == {}


@pytest.mark.parametrize(
    ("broken", "mend"),
    [
        ("import os\nos.environ['KEY']\n", (".env", "KEY=1\n")),
        ("import helpers\n", ("helpers.py", "")),
        ("with open('key.txt') as file:\n    int(file.read())\n", ("key.txt", "1")),
    ],
)
def test_whatever_the_settings_come_from_counts_when_it_is_saved(
    tmp_path: Path, broken: str, mend: tuple[str, str]
) -> None:
    files = {"Procfile": WORKER, "shop.py": broken + APP.format(f"broker={url()!r}"), "key.txt": "?"}
    project, supervised, _ = unread(tmp_path, files)
    name, text = mend
    asyncio.run(supervised.mended(lambda: (project.directory / name).write_text(text), lambda: supervised.told))


def test_a_file_that_decides_nothing_asks_nobody(tmp_path: Path) -> None:
    count = tmp_path / "count"
    shop = f"with open({str(count)!r}, 'a') as file:\n    file.write('x')\n1 / 0\n"
    project, supervised, _ = unread(tmp_path, {"Procfile": WORKER, "shop.py": shop})
    asked = len(count.read_text())

    def edit() -> None:
        (project.directory / "db.sqlite3-journal").touch()
        (project.directory / "shop.py").write_text(shop)

    asyncio.run(supervised.mended(edit, lambda: len(count.read_text()) > asked))
    before = count.read_text()
    journal = project.directory / "other.log"
    seen = inputs.now([str(project.directory)])
    journal.touch()
    assert inputs.now([str(project.directory)]) == seen
    assert before == "x" * (asked + 1)


def test_a_project_that_names_no_broker_in_the_end_gets_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = url()
    monkeypatch.setattr("devstack.core.redis_url.DEFAULT", default)
    project, supervised, _ = unread(tmp_path, {"Procfile": WORKER, "shop.py": "app = (\n"})
    shop = project.directory / "shop.py"
    asyncio.run(supervised.mended(lambda: shop.write_text(APP.format("")), lambda: supervised.told))
    assert project.injected == {"CELERY_BROKER_URL": default, "CELERY_RESULT_BACKEND": default}
    worker = next(each for each in project.services if each.name == "worker")
    assert worker.launch(1).env["CELERY_BROKER_URL"] == default


def test_another_broker_opens_the_gate_and_starts_nothing(tmp_path: Path) -> None:
    project, supervised, said = unread(tmp_path, {"Procfile": WORKER, "shop.py": "app = (\n"})
    shop = APP.format("broker='amqp://broker.example.com//'")
    edit = project.directory / "shop.py"
    asyncio.run(supervised.mended(lambda: edit.write_text(shop), lambda: supervised.broker))
    assert asyncio.run(supervised.answer()).health is Health.READY
    assert supervised.told == []
    assert said[-1] == "the broker is amqp (settings of shop): devstack neither starts nor watches it"


def test_a_redis_of_the_procfile_starts_at_once_and_serves_the_broker_once_that_is_known(tmp_path: Path) -> None:
    port = free_port()
    files = {"Procfile": f"redis: redis-server --port {port}\n{WORKER}", "shop.py": "app = (\n"}
    project, supervised, said = unread(tmp_path, files)
    assert added(project)["worker"] == ("redis-broker", "redis")
    shop, text = project.directory / "shop.py", APP.format(f"broker='redis://127.0.0.1:{port}/0'")
    with redis_server(port=port):
        asyncio.run(supervised.mended(lambda: shop.write_text(text), lambda: supervised.broker))
    assert asyncio.run(supervised.answer()).health is Health.READY
    assert len(said) == 1


def test_an_address_that_cannot_be_used_is_a_reason_to_wait_on(tmp_path: Path) -> None:
    project, supervised, said = unread(tmp_path, {"Procfile": WORKER, "shop.py": "app = (\n"})
    shop, broker = project.directory / "shop.py", url()

    async def history() -> None:
        wrong = APP.format("broker='127.0.0.1:6379'")
        await supervised.mended(lambda: shop.write_text(wrong), lambda: len(said) > 1)
        assert said[1].startswith("settings of shop: the address of the broker has no scheme; ")
        assert (await supervised.answer()).health is Health.NOT_YET
        right = APP.format(f"broker={broker!r}")
        await supervised.mended(lambda: shop.write_text(right), lambda: supervised.told)

    asyncio.run(history())


def test_another_beat_is_a_reason_to_wait_on(tmp_path: Path) -> None:
    broker = url()
    files = {"Procfile": WORKER + "beat: celery -A shop beat\n", "shop.py": "app = (\n"}
    project, supervised, said = unread(tmp_path, files)
    with only_beat(project, host.here(), Broker(broker, "")):
        shop, text = project.directory / "shop.py", APP.format(f"broker={broker!r}")
        asyncio.run(supervised.mended(lambda: shop.write_text(text), lambda: "another beat runs" in said[-1]))
    assert asyncio.run(supervised.answer()).health is Health.NOT_YET


def test_where_nobody_is_there_to_mend_it_the_processes_start_and_say_it_themselves(
    provided: Provide, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = url()
    monkeypatch.setattr("devstack.core.redis_url.DEFAULT", default)
    _, found, said = provided({"Procfile": WORKER, "shop.py": "app = (\n"}, exit_on_failure=True)
    assert found
    assert found.url == default
    assert said[0].endswith("(shop.py:1); once it can, run devstack up again")
    _, found, said = provided({"Procfile": WORKER.replace("shop", "shopp")})
    assert (
        said[0]
        == "the Celery settings of shopp could not be read: No module named 'shopp'; once it can, run devstack up again"
    )


def test_where_one_line_names_a_wrong_app_the_next_one_is_asked_and_then_django(provided: Provide) -> None:
    broker = url()
    files = {"shop.py": APP.format(f"broker={broker!r}"), "Procfile": WORKER.replace("shop", "shopp")}
    two = files["Procfile"] + "beat: celery -A shop beat\n"
    _, found, said = provided({**files, "Procfile": two})
    assert found
    assert found.url == broker
    assert said[0] == "the Celery settings of shopp could not be read: No module named 'shopp'; those of shop count"
    other = url()
    files["manage.py"] = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conf")\n'
    files["conf.py"] = f"SECRET_KEY = 'x'\nCELERY_BROKER_URL = {other!r}\n"
    _, found, said = provided(files)
    assert found
    assert (found.url, found.source) == (other, "settings of conf")
    assert said[0].endswith("No module named 'shopp'; those of conf count")


def test_settings_without_a_broker_prove_nothing_while_the_app_itself_cannot_be_read(tmp_path: Path) -> None:
    files = {"Procfile": WORKER, "shop.py": "app = (\n", "conf.py": "SECRET_KEY = 'x'\n"}
    files["manage.py"] = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conf")\n'
    _, _, said = unread(tmp_path, files)
    assert "SyntaxError" in said[0]


def test_a_worker_behind_other_programs_is_asked_where_and_as_it_will_run(tmp_path: Path) -> None:
    app = "import os\nfrom celery import Celery\napp = Celery('shop', broker=os.environ['WHERE'])\n"
    (tmp_path / "project" / "backend").mkdir(parents=True)
    files = {
        "backend/shop.py": app,
        "Procfile": "worker: cd backend && python -c 1 && WHERE=amqp://192.0.2.1// celery -A shop worker\n",
    }
    project, said = loaded(tmp_path, files), list[str]()
    broker = asyncio.run(provide(project, said.append)).broker
    assert broker
    assert broker.url == "amqp://192.0.2.1//", said
