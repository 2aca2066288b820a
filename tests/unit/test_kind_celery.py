from __future__ import annotations

import pytest

from devstack.core.model import ProbeSpec
from devstack.errors import DevstackError
from devstack.kinds import Context, Kind
from devstack.kinds.arguments import option
from devstack.kinds.celery import app_options, recognise


def context(instance: int = 1, system: str = "linux", name: str = "worker", **env: str) -> Context:
    return Context(f"{name}.{instance}", instance, system, env, "/project", "/state")


def kind(line: str, where: Context | None = None) -> Kind:
    found = recognise(line.split(), where or context())
    assert found is not None, line
    return found


def runs(line: str, where: Context | None = None) -> str:
    """The words that `line` runs as."""
    where = where or context()
    return " ".join(kind(line, where).arguments(line.split(), where))


@pytest.mark.parametrize(
    "line",
    [
        "celery -A shop worker",
        "celery worker -A shop",
        "celery --app=shop worker -l info",
        "celery --app shop -q worker",
        "celery -Ashop worker",
        "celery -qA shop worker",
        "celery -A worker worker",
        "celery -b redis://x --workdir src -A shop worker -Q a,b",
        "/venv/bin/celery -A shop worker",
        r"C:\venv\Scripts\celery.exe -A shop worker",
        "python -m celery -A shop worker",
        "python3.12 -u -X dev -W ignore -m celery -A shop worker",
        "py -3 -m celery -A shop worker",
        "python /venv/bin/celery -A shop worker",
        "python manage.py celery worker",
        "./manage.py celery worker",
        "docker run --rm image celery -A shop worker",
        "docker compose exec celery celery -A shop worker",
        "docker compose run --rm celery python -m celery -A shop worker",
        "ddtrace-run celery -A shop worker",
        "newrelic-admin run-program celery -A shop worker",
        "coverage run -m celery -A shop worker",
        "timeout 60 celery -A shop worker",
    ],
)
def test_a_worker_is_recognised_however_it_is_written(line: str) -> None:
    found = kind(line)
    assert (found.name, found.role) == ("celery worker", "worker")
    assert found.probe == ProbeSpec("celery", every=5.0)
    assert (found.stop_signal, found.signal_group, found.watch, found.channel, found.single) == (
        "TERM",
        False,
        True,
        True,
        False,
    )
    assert found.after == ("redis", "oneshot")
    assert found.grace >= 30


@pytest.mark.parametrize(
    "line",
    [
        "",
        "celery",
        "celery --version",
        "celery -A shop",
        "celery -A shop nonsense",
        "python worker.py",
        "python -m http.server celery",
        "python -c import:celery worker",
        "python manage.py runserver",
        "python manage.py shell celery worker",
        "pip install celery",
        "echo celery worker",
        "docker compose up celery",
        "redis-server",
        "gunicorn celery.wsgi",
    ],
)
def test_what_is_not_celery_is_not_recognised(line: str) -> None:
    assert recognise(line.split(), context()) is None


def test_a_worker_gets_a_node_name_of_its_own() -> None:
    assert runs("celery -A shop worker -l info") == "celery -A shop worker -l info -n worker.1@%h"
    assert runs("celery -A shop worker", context(2)) == "celery -A shop worker -n worker.2@%h"
    assert runs("celery -A shop worker", context(name="mails")) == "celery -A shop worker -n mails.1@%h"
    assert runs("celery -A shop worker", context(CELERY_WORKER_HOSTNAME="x")) == "celery -A shop worker"
    assert runs("docker run i celery -A s worker") == "docker run i celery -A s worker -n worker.1@container"


@pytest.mark.parametrize("spelling", ["-n {}", "-n{}", "--hostname {}", "--hostname={}"])
def test_a_named_node_is_left_alone_and_made_unique_for_further_instances(spelling: str) -> None:
    line = "celery -A shop worker " + spelling
    assert runs(line.format("w@%h")) == line.format("w@%h")
    assert runs(line.format("w@%h"), context(3)) == line.format("w.3@%h")
    assert runs(line.format("w"), context(2)) == line.format("w.2")
    assert kind(line.format("w@%h")).notes == ()
    assert kind(line.format("w@%h"), context(3)).notes == (
        "-n w@%h is one name for several workers: instance 3 runs as w.3@%h",
    )
    # $PS was in it: each instance has its own already.
    assert runs(line.format("worker.2@%h"), context(2)) == line.format("worker.2@%h")


def test_windows_gets_a_pool_that_works_and_a_word_about_it() -> None:
    windows = context(system="win32")
    found = kind("celery -A shop worker", windows)
    assert runs("celery -A shop worker", windows).endswith(" --pool=solo")
    [note] = found.notes
    assert "--pool=solo was added" in note
    assert "--pool=threads" in note
    for named in ("-P threads", "-Pthreads", "--pool=gevent", "--pool eventlet", "-P solo"):
        assert "pool=solo" not in runs(f"celery -A shop worker {named}", windows)
        assert kind(f"celery -A shop worker {named}", windows).notes == ()
    [note] = kind("celery -A shop worker -P prefork", windows).notes
    assert "does not work on Windows" in note
    assert "solo" not in runs("celery -A shop worker -P prefork", windows)
    assert "pool" not in runs("celery -A shop worker", context(system="win32", CELERY_WORKER_POOL="threads"))
    assert "pool" not in runs("docker run i celery -A s worker", windows)


def test_only_windows_is_changed() -> None:
    for system in ("linux", "darwin"):
        assert "pool" not in runs("celery -A shop worker", context(system=system))
        assert kind("celery -A shop worker", context(system=system)).notes == ()


def test_macos_lets_prefork_fork() -> None:
    mac = context(system="darwin")
    assert kind("celery -A shop worker", mac).env == {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
    assert kind("celery -A shop worker -P solo", mac).env == {}


def test_an_embedded_beat_keeps_its_schedule_out_of_the_project_and_runs_once() -> None:
    line = "celery -A shop worker -B"
    assert runs(line) == f"{line} -n worker.1@%h -s /state/celerybeat-schedule-worker.1"
    assert runs(f"{line} -s here") == f"{line} -s here -n worker.1@%h"
    assert runs(line, context(2)) == "celery -A shop worker -n worker.2@%h"
    assert "first instance only" in kind(line, context(2)).notes[0]
    assert any("refuses -B on Windows" in note for note in kind(line, context(system="win32")).notes)


def test_a_remapped_sigterm_is_respected_with_a_warning() -> None:
    found = kind("celery -A shop worker", context(REMAP_SIGTERM="SIGQUIT"))
    assert found.stop_signal == "TERM"
    assert "REMAP_SIGTERM=SIGQUIT" in found.notes[0]


@pytest.mark.parametrize(
    "line",
    [
        "celery -A shop worker --detach",
        "celery -A shop worker -D",
        "celery -A shop beat --detach",
        "celery multi start w1 -A shop",
    ],
)
def test_what_leaves_for_the_background_is_refused_with_the_way_out(line: str) -> None:
    with pytest.raises(DevstackError) as caught:
        recognise(line.split(), context())
    assert "background" in caught.value.what
    assert caught.value.fix


def test_beat_runs_once_without_files_in_the_project() -> None:
    beat = context(name="beat")
    found = kind("celery -A shop beat -l info", beat)
    assert (found.name, found.role, found.single, found.watch, found.channel) == (
        "celery beat",
        "beat",
        True,
        True,
        True,
    )
    assert found.probe == ProbeSpec("beat", every=5.0)
    assert found.after == ("redis", "oneshot", "worker")
    line = "celery -A shop beat"
    assert runs(line, beat) == f"{line} --pidfile= -s /state/celerybeat-schedule-beat.1"
    assert runs(line, context(name="beat", system="win32")).endswith(r"-s /state\celerybeat-schedule-beat.1")
    assert runs(f"{line} --pidfile x.pid -s mine", beat) == f"{line} --pidfile x.pid -s mine"
    assert runs(f"{line} --schedule=mine", beat) == f"{line} --schedule=mine --pidfile="
    for scheduler in (
        "-S django",
        "--scheduler django_celery_beat.schedulers:DatabaseScheduler",
        "-S redbeat.RedBeatScheduler",
    ):
        assert runs(f"{line} {scheduler}", beat) == f"{line} {scheduler} --pidfile="
    assert "-s /state" in runs(f"{line} -S celery.beat.PersistentScheduler", beat)


def flower(line: str, **env: str) -> tuple[ProbeSpec, str, str]:
    found = kind(line, context(name="flower", **env))
    assert (found.name, found.role, found.after) == ("flower", "flower", ("redis", "oneshot", "worker"))
    return found.probe, found.url, runs(line, context(name="flower", **env))


def http(port: int = 5555, path: str = "/healthcheck", host: str = "127.0.0.1") -> ProbeSpec:
    return ProbeSpec("http", {"host": host, "port": port, "path": path, "status": 200}, every=10.0)


def test_flower_is_asked_where_it_listens() -> None:
    for line in ("celery -A shop flower", "flower", "python -m flower", "python -m celery -A shop flower"):
        assert flower(line) == (http(), "http://127.0.0.1:5555", f"{line} --address=127.0.0.1")
    assert flower("celery flower --port=5556")[:2] == (http(5556), "http://127.0.0.1:5556")
    assert flower("celery flower", FLOWER_PORT="99")[0] == http(99)
    assert flower("celery flower --port=1", FLOWER_PORT="99")[0] == http(1)
    line = "celery flower --address=0.0.0.0 --url_prefix=/flower/"
    assert flower(line) == (http(path="/flower/healthcheck"), "http://127.0.0.1:5555/flower", line)
    assert flower("celery flower --url-prefix=f")[1] == "http://127.0.0.1:5555/f"
    assert flower("celery flower", FLOWER_ADDRESS="10.0.0.1") == (
        http(host="10.0.0.1"),
        "http://10.0.0.1:5555",
        "celery flower",
    )
    assert flower("celery flower --unix_socket=/tmp/f.sock")[0] == ProbeSpec("tcp", {"path": "/tmp/f.sock"}, every=10.0)
    assert flower("celery flower --certfile=c --keyfile=k")[:2] == (
        ProbeSpec("tcp", {"host": "127.0.0.1", "port": 5555}, every=10.0),
        "https://127.0.0.1:5555",
    )
    assert flower("celery flower --port=none")[0] == ProbeSpec()
    assert "--address" not in flower("docker run i celery flower")[2]


def test_commands_that_end_are_one_shots_on_the_right_side_of_the_workers() -> None:
    purge = kind("celery -A shop purge -f")
    assert (purge.role, purge.oneshot, purge.after) == ("oneshot", True, ("redis",))
    inspect = kind("celery -A shop inspect ping")
    assert (inspect.role, inspect.oneshot, inspect.after) == ("other", True, ("redis", "oneshot", "worker"))
    events = kind("celery -A shop events --camera x")
    assert (events.role, events.oneshot) == ("other", False)


def test_an_option_is_found_in_each_spelling_and_the_last_one_counts() -> None:
    assert option(["-n", "a", "--hostname=b"], "-n", "--hostname") == "b"
    assert option(["-na"], "-n") == "a"
    assert option(["--name"], "-n") is None
    assert option(["-n"], "-n") == ""
    assert option([], "-n") is None


def test_what_the_settings_reader_needs_is_taken_from_the_line() -> None:
    assert app_options(["celery", "-A", "shop", "worker", "-l", "info"]) == ["--app", "shop"]
    assert app_options(["python", "-m", "celery", "worker", "--app=shop", "--broker", "redis://x"]) == [
        "--app",
        "shop",
        "--broker",
        "redis://x",
    ]
    assert app_options(["celery", "worker"]) == []
    assert app_options(["redis-server"]) == []
