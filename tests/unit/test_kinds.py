"""Django, the web servers and node: what a command line says about role, port and probe."""

from __future__ import annotations

import pytest

from devstack.core.model import ProbeSpec
from devstack.kinds import OTHER, Context, Kind, recognise


def kind(line: str, **env: str) -> Kind:
    return recognise(line.split(), Context("web.1", 1, "linux", env, "/app", "/state"))


def http(port: int, host: str = "127.0.0.1") -> ProbeSpec:
    return ProbeSpec("http", {"host": host, "port": port})


@pytest.mark.parametrize(
    ("line", "probe"),
    [
        ("python manage.py runserver", http(8000)),
        ("python -W error -u manage.py runserver 8001", http(8001)),
        ("./manage.py runserver 0.0.0.0:8001", http(8001)),
        ("python backend/manage.py runserver 0:8001 --noreload", http(8001)),
        ("python manage.py runserver -6", http(8000, "::1")),
        ("python manage.py runserver [::1]:8001", http(8001, "::1")),
        ("django-admin runserver_plus 9000", http(9000)),
        ("python -m django runserver 9000", http(9000)),
        ("gunicorn shop.wsgi", http(8000)),
        ("gunicorn shop.wsgi --bind 0.0.0.0:9000 --reload", http(9000)),
        ("gunicorn -b :9000 shop.wsgi", http(9000)),
        ("gunicorn -b unix:/run/shop.sock shop.wsgi", ProbeSpec("tcp", {"path": "/run/shop.sock"})),
        ("gunicorn -b fd://3 shop.wsgi", ProbeSpec("tcp", {"port": None})),
        ("python -m gunicorn shop.wsgi -b [::]:9000", http(9000, "::1")),
        ("uvicorn shop.asgi:app --host 0.0.0.0 --port=9000", http(9000)),
        ("uvicorn shop.asgi:app --uds /tmp/s", ProbeSpec("tcp", {"path": "/tmp/s"})),
        ("daphne -p 9000 shop.asgi:application", http(9000)),
        ("daphne -b 0.0.0.0 shop.asgi:application", http(8000)),
        ("hypercorn shop.asgi:app --bind 127.0.0.1:9000", http(9000)),
        ("granian shop.asgi:app --interface asgi --port 9000", http(9000)),
        ("flask --app shop run -p 5050", http(5050)),
        ("fastapi dev shop.py --port 9000", http(9000)),
    ],
)
def test_a_web_server_is_asked_where_its_command_line_says(line: str, probe: ProbeSpec) -> None:
    assert (kind(line).role, kind(line).probe) == ("web", probe)


def test_the_port_may_come_from_the_servers_own_variable() -> None:
    assert kind("gunicorn shop.wsgi", PORT="5100").probe == http(5100)
    assert kind("gunicorn shop.wsgi", GUNICORN_CMD_ARGS="--bind 127.0.0.1:7000").probe == http(7000)
    assert kind("uvicorn shop.asgi:app", UVICORN_PORT="5100").probe == http(5100)
    assert kind("granian shop.asgi:app", GRANIAN_PORT="5100").probe == http(5100)
    assert kind("flask run", FLASK_RUN_PORT="5100").probe == http(5100)
    assert kind("python manage.py runserver", PORT="5100").probe == http(8000), "runserver reads no PORT"


@pytest.mark.parametrize(
    ("line", "watch"),
    [
        ("python manage.py runserver", False),
        ("python manage.py runserver --noreload", True),
        ("gunicorn shop.wsgi", True),
        ("gunicorn shop.wsgi --reload", False),
        ("uvicorn shop.asgi:app --reload", False),
        ("flask run --debug", False),
        ("flask run", True),
        ("npm run dev", False),
    ],
)
def test_one_that_reloads_itself_is_left_alone(line: str, watch: bool) -> None:
    assert kind(line).watch is watch


@pytest.mark.parametrize(
    "line", ["python manage.py migrate --noinput", "django-admin collectstatic", "python -m django check"]
)
def test_a_command_that_ends_is_a_one_shot_that_waits_for_redis_alone(line: str) -> None:
    assert (kind(line).role, kind(line).oneshot, kind(line).after, kind(line).ready_within) == (
        "oneshot",
        True,
        ("redis",),
        None,
    )


def test_another_management_command_has_no_probe_and_waits_for_the_migrations() -> None:
    found = kind("python manage.py process_tasks")
    assert (found.name, found.probe.how, found.after) == ("django command", "none", ("redis", "oneshot"))


def test_gunicorns_master_alone_is_told_to_leave_and_gets_the_time_it_gives_its_workers() -> None:
    assert (kind("gunicorn shop.wsgi").signal_group, kind("gunicorn shop.wsgi").grace) == (False, 35.0)


@pytest.mark.parametrize(
    "line", ["npm run dev", "yarn dev", "pnpm start", "npx vite --port 3000", "next dev", "npm exec vite", "nuxt dev"]
)
def test_a_dev_server_of_node_needs_nothing_and_is_asked_on_whichever_port_it_opens(line: str) -> None:
    assert (kind(line).probe, kind(line).after) == (ProbeSpec("tcp", {"port": None}), ())


@pytest.mark.parametrize("line", ["npm run build", "npx tailwindcss --watch", "node server.js", "vite build"])
def test_other_node_programs_have_no_probe(line: str) -> None:
    assert (kind(line).probe.how, kind(line).after) == ("none", ())


@pytest.mark.parametrize(
    "line",
    [
        "./run.sh",
        "python",
        "python -m",
        "python script.py runserver",
        "make dev",
        "manage.py",
        "flask routes",
        "-m django",
    ],
)
def test_anything_else_is_other(line: str) -> None:
    assert kind(line) == OTHER
