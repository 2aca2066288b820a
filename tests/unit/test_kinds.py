"""Web servers, manage.py and Node's tools: what a command line says about the address, the order, the stop and the restart."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.core.record import replace
from devstack.errors import DevstackError
from devstack.kinds import OTHER, Context, Kind, arguments, recognise

CONTEXT = Context("web.1", 1, "linux", {}, "/srv", "/state")


def kind(line: str, **env: str) -> Kind:
    return recognise(shlex.split(line), replace(CONTEXT, env=env))


def place(line: str, **env: str) -> str:
    """The probe in short: "http 127.0.0.1:8000", "tcp /srv/x.sock"."""
    probe = kind(line, **env).probe
    options = dict(probe.options)
    assert probe.every is None, "each question is a line in the access log"
    return f"{probe.how} {options.get('path') or '{host}:{port}'.format(**options)}"


# ---- Django ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected", "url"),
    [
        ("", "http 127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("8001", "http 127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("0:8001", "http 127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("0.0.0.0:8001", "http 127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("localhost:8001", "http localhost:8001", "http://localhost:8001"),
        ("shop.test:8001", "http shop.test:8001", "http://shop.test:8001"),
        ("[::1]:8001", "http ::1:8001", "http://[::1]:8001"),
        ("-6", "http ::1:8000", "http://[::1]:8000"),
        ("-6 8001", "http ::1:8001", "http://[::1]:8001"),
        ("--settings shop.dev -v 2 8001 --nostatic", "http 127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("-v 2", "http 127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0", "http 127.0.0.1:None", ""),
        ("99999", "http 127.0.0.1:None", ""),
    ],
)
def test_the_address_of_runserver(words: str, expected: str, url: str) -> None:
    for command in ("runserver", "runserver_plus"):
        line = f"python manage.py {command} {words}"
        assert place(line) == expected
        assert kind(line).url == url


@pytest.mark.parametrize(
    "line",
    [
        "python manage.py runserver",
        "python3.12 -X dev -Wd backend/manage.py runserver",
        "./manage.py runserver",
        "manage.py runserver",
        "django-admin runserver",
        "/v/bin/django-admin runserver",
        "python -m django runserver",
        "python -um manage runserver",
        r"'C:\v\Scripts\python.exe' manage.py runserver",
    ],
)
def test_every_way_to_call_manage_py_is_recognised(line: str) -> None:
    found = kind(line)
    assert (found.name, found.role, found.after) == ("django runserver", "web", ("redis", "oneshot"))
    assert (found.stop_signal, found.signal_group) == ("INT", True)


def test_runserver_sees_that_it_is_the_process_that_serves() -> None:
    assert kind("python manage.py runserver").env == {"RUN_MAIN": "true"}
    assert not kind("python manage.py runserver --noreload").env


def test_a_certificate_makes_the_question_a_plain_connection() -> None:
    found = kind("python manage.py runserver_plus --cert-file x.crt 8443")
    assert (found.probe.how, found.url) == ("tcp", "https://127.0.0.1:8443")


@pytest.mark.parametrize(
    "command", ["migrate --noinput", "collectstatic", "loaddata x", "createcachetable", "check --deploy"]
)
def test_commands_that_end_are_one_shots_behind_redis_alone(command: str) -> None:
    found = kind(f"python manage.py {command}")
    assert (found.role, found.oneshot, found.after, found.ready_within) == ("oneshot", True, ("redis",), None)
    assert found.probe.how == "none"


def test_another_command_of_django_is_not_waited_for() -> None:
    found = kind("python manage.py qcluster")
    assert found == replace(OTHER, name="django command")


@pytest.mark.parametrize(
    "line",
    [
        "python manage.py",
        "python",
        "python -c 'manage.py runserver'",
        "python x.py runserver",
        "",
        "bash manage.py runserver",
    ],
)
def test_what_is_no_manage_py_stays_other(line: str) -> None:
    assert kind(line) == OTHER


# ---- servers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gunicorn shop.wsgi -b 0.0.0.0:5000", "http 127.0.0.1:5000"),
        ("gunicorn -b:5000 shop.wsgi", "http 127.0.0.1:5000"),
        ("gunicorn --bind=localhost shop.wsgi", "http localhost:8000"),
        ("gunicorn --bind [::]:5000 shop.wsgi", "http ::1:5000"),
        ("gunicorn --bind tcp://127.0.0.1:5000 shop.wsgi", "http 127.0.0.1:5000"),
        ("gunicorn -b unix:/run/g.sock shop.wsgi", "tcp /run/g.sock"),
        ("gunicorn -b unix:g.sock shop.wsgi", "tcp /srv/g.sock"),
        ("gunicorn -b unix:///run/g.sock -b 127.0.0.1:5000 shop.wsgi", "http 127.0.0.1:5000"),
        ("gunicorn -b fd://3 shop.wsgi", "http 127.0.0.1:None"),
        ("gunicorn -b 127.0.0.1:x shop.wsgi", "http 127.0.0.1:None"),
        ("gunicorn shop.wsgi --certfile c --keyfile k -b :5000", "tcp 127.0.0.1:5000"),
        ("python -m gunicorn shop.wsgi -b :5000", "http 127.0.0.1:5000"),
        ("gunicorn shop.wsgi", "http 127.0.0.1:None"),
        ("uvicorn shop:app", "http 127.0.0.1:8000"),
        ("uvicorn shop:app --host 0.0.0.0 --port=5000", "http 127.0.0.1:5000"),
        ("uvicorn shop:app --port 0", "http 127.0.0.1:None"),
        ("uvicorn shop:app --uds /run/u.sock", "tcp /run/u.sock"),
        ("uvicorn shop:app --fd 3", "http 127.0.0.1:None"),
        ("uvicorn shop:app --ssl-keyfile k --ssl-certfile c", "tcp 127.0.0.1:8000"),
        ("python -m uvicorn shop:app --port 5000", "http 127.0.0.1:5000"),
        ("daphne shop:app", "http 127.0.0.1:8000"),
        ("daphne -b 0.0.0.0 -p 5000 shop:app", "http 127.0.0.1:5000"),
        ("daphne -p5000 shop:app", "http 127.0.0.1:5000"),
        ("daphne -u /run/d.sock shop:app", "tcp /run/d.sock"),
        ("daphne --fd 3 shop:app", "http 127.0.0.1:None"),
        ("daphne -e tcp:port=5000:interface=0.0.0.0 shop:app", "http 127.0.0.1:5000"),
        ("daphne -e ssl:5443:privateKey=k:certKey=c shop:app", "tcp 127.0.0.1:5443"),
        ("daphne -e unix:/run/d.sock shop:app", "tcp /run/d.sock"),
        ("hypercorn shop:app", "http 127.0.0.1:8000"),
        ("hypercorn shop:app -b 0.0.0.0:5000", "http 127.0.0.1:5000"),
        ("hypercorn shop:app --bind unix:/run/h.sock", "tcp /run/h.sock"),
        ("hypercorn shop:app -c hypercorn.toml", "http 127.0.0.1:None"),
        ("hypercorn shop:app --certfile c --keyfile k", "tcp 127.0.0.1:8000"),
        ("granian --interface asgi shop:app", "http 127.0.0.1:8000"),
        ("granian --host 0.0.0.0 --port 5000 shop:app", "http 127.0.0.1:5000"),
        ("granian --uds /run/g.sock shop:app", "tcp /run/g.sock"),
        ("granian --ssl-certificate c --ssl-keyfile k shop:app", "tcp 127.0.0.1:8000"),
        ("waitress-serve shop:app", "http 127.0.0.1:8080"),
        ("waitress-serve --listen=*:5000 shop:app", "http 127.0.0.1:5000"),
        ("waitress-serve --listen='127.0.0.1:5000 [::1]:5000' shop:app", "http 127.0.0.1:5000"),
        ("waitress-serve --host=127.0.0.1 --port=5000 shop:app", "http 127.0.0.1:5000"),
        ("waitress-serve --unix-socket=w.sock shop:app", "tcp /srv/w.sock"),
        ("flask --app shop run", "http 127.0.0.1:None"),
        ("flask --app shop run -h 0.0.0.0 -p 5001", "http 127.0.0.1:5001"),
        ("python -m flask run --port=5001 --cert=adhoc", "tcp 127.0.0.1:5001"),
    ],
)
def test_where_a_server_listens_as_its_words_say(line: str, expected: str) -> None:
    assert place(line) == expected
    assert kind(line).role == "web"


@pytest.mark.parametrize(
    ("line", "env", "expected", "url"),
    [
        ("gunicorn shop", {"PORT": "5000"}, "http 127.0.0.1:None", "http://127.0.0.1:5000"),
        ("gunicorn shop", {}, "http 127.0.0.1:None", "http://127.0.0.1:8000"),
        ("gunicorn shop -c conf.py", {"PORT": "5000"}, "http 127.0.0.1:None", ""),
        ("gunicorn shop", {"GUNICORN_CMD_ARGS": "--bind=:6000"}, "http 127.0.0.1:6000", "http://127.0.0.1:6000"),
        ("gunicorn shop", {"GUNICORN_CMD_ARGS": "'"}, "http 127.0.0.1:None", "http://127.0.0.1:8000"),
        ("uvicorn x", {"UVICORN_PORT": "6000", "PORT": "1"}, "http 127.0.0.1:6000", "http://127.0.0.1:6000"),
        ("uvicorn x --port 7000", {"UVICORN_PORT": "6000"}, "http 127.0.0.1:7000", "http://127.0.0.1:7000"),
        ("granian x", {"GRANIAN_HOST": "::1", "GRANIAN_PORT": "6000"}, "http ::1:6000", "http://[::1]:6000"),
        ("flask run", {"FLASK_RUN_PORT": "6000"}, "http 127.0.0.1:6000", "http://127.0.0.1:6000"),
        ("flask run", {}, "http 127.0.0.1:None", "http://127.0.0.1:5000"),
    ],
)
def test_variables_count_where_the_server_reads_them(line: str, env: dict[str, str], expected: str, url: str) -> None:
    assert place(line, **env) == expected
    assert kind(line, **env).url == url


def with_file(line: str, name: str, text: str, **more: object) -> Kind:
    """With a configuration file of that name in its directory."""
    return recognise(shlex.split(line), replace(CONTEXT, read=lambda file: text if file == name else "", **more))


def ran(line: str, **env: str) -> str:
    found = kind(line, **env)
    return shlex.join(found.arguments(shlex.split(line), CONTEXT))


TAKEN_OVER = {
    "gunicorn shop --reload -b :1": "gunicorn shop -b :1",
    "gunicorn shop --reload-engine poll --reload": "gunicorn shop",
    "uvicorn shop:app --reload": "uvicorn shop:app",
    "python -m uvicorn --reload-delay=1 shop:app --reload --port 1": "python -m uvicorn shop:app --port 1",
    "uvicorn shop:app --workers 4 --reload": "uvicorn shop:app --workers 1",
    "hypercorn shop:app --reload": "hypercorn shop:app --workers 0",
    "flask --debug run": "flask --debug run --no-reload",
    "flask run --reload -p 1": "flask run -p 1 --no-reload",
    "python manage.py runserver 8001": "python manage.py runserver 8001 --noreload",
}


@pytest.mark.parametrize("line", TAKEN_OVER)
def test_a_reloader_is_left_out_where_we_do_it_better(line: str) -> None:
    found = kind(line)
    assert ran(line) == TAKEN_OVER[line]
    assert (found.watch, found.channel, found.reload) == (True, True, "beside")
    assert "in place of its own reloader" in found.notes[0]


@pytest.mark.parametrize("line", TAKEN_OVER)
def test_it_stays_for_who_wants_it(line: str) -> None:
    found = recognise(shlex.split(line), replace(CONTEXT, own_reload=True))
    assert (found.watch, found.channel, found.reload, found.notes, dict(found.env)) == (False, False, "own", (), {})
    assert shlex.join(found.arguments(shlex.split(line), CONTEXT)) == line


@pytest.mark.parametrize(
    ("line", "env"),
    [
        ("gunicorn shop", {"GUNICORN_CMD_ARGS": "--reload --reload-extra-file x.html"}),
        ("gunicorn shop --reload --reload-extra-file x.html", {}),
        ("gunicorn shop --reload --pid gunicorn.pid", {}),
        ("gunicorn shop --reload --bind unix:g.sock", {}),
        ("uvicorn shop:app", {"UVICORN_RELOAD": "true", "UVICORN_RELOAD_INCLUDES": "*.html"}),
        ("uvicorn shop:app --reload --reload-dir ../library", {}),
        ("uvicorn shop:app --reload --uds u.sock", {}),
        ("hypercorn shop:app --reload --workers 2", {}),
        ("granian --reload shop:app", {}),
        ("granian shop:app", {"GRANIAN_RELOAD": "1"}),
        ("flask --debug run --extra-files x.yaml", {}),
        ("python manage.py runserver_plus", {}),
    ],
)
def test_a_reloader_stays_where_we_could_not_do_it_better(line: str, env: dict[str, str]) -> None:
    found = kind(line, **env)
    assert (found.watch, found.channel, found.reload, found.notes) == (False, False, "own", ())
    assert ran(line, **env) == line


BY_A_FILE = [
    ("gunicorn shop", "gunicorn.conf.py", "import os\nworkers = os.cpu_count()\nreload = True\n"),
    ("gunicorn shop -c settings/dev.py", "settings/dev.py", "reload: bool = True\n"),
    ("gunicorn shop --config=file:dev.py", "dev.py", "reload = True\n"),
    ("flask run", ".flaskenv", "FLASK_DEBUG=1\n"),
    ("flask run", ".flaskenv", "# ours\nexport FLASK_RUN_RELOAD='true'\n"),
]
BY_A_VARIABLE = [
    ("gunicorn shop", {"GUNICORN_CMD_ARGS": "--reload -b :1"}),
    ("uvicorn shop:app", {"UVICORN_RELOAD": "true"}),
    ("uvicorn shop:app --reload", {"UVICORN_RELOAD": "true"}),
    ("flask run", {"FLASK_DEBUG": "1"}),
    ("flask run", {"FLASK_RUN_RELOAD": "1"}),
]


@pytest.mark.parametrize(("line", "env"), BY_A_VARIABLE)
def test_a_reloader_that_a_variable_switches_on_is_taken_over_or_left_alone(line: str, env: dict[str, str]) -> None:
    found = kind(line, **env)
    assert (found.watch, found.channel, found.reload, len(found.notes)) == (True, True, "beside", 1)
    found = recognise(shlex.split(line), replace(CONTEXT, env=env, own_reload=True))
    assert (found.watch, found.channel, found.reload, found.notes) == (False, False, "own", ())


@pytest.mark.parametrize(("line", "name", "text"), BY_A_FILE)
def test_a_reloader_that_a_file_switches_on_is_taken_over_or_left_alone(line: str, name: str, text: str) -> None:
    found = with_file(line, name, text)
    assert (found.watch, found.channel, found.reload, len(found.notes)) == (True, True, "beside", 1)
    found = with_file(line, name, text, own_reload=True)
    assert (found.watch, found.channel, found.reload, found.notes) == (False, False, "own", ())


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("hypercorn -c hypercorn.toml shop:app", "hypercorn.toml", "use_reloader = true\n"),
        ("hypercorn -c file:dev.py shop:app", "dev.py", "use_reloader = True\n"),
        ("gunicorn shop", "gunicorn.conf.py", "reload = True\nreload_extra_files = ['x.html']\n"),
        ("gunicorn shop", "gunicorn.conf.py", "reload = True\npidfile = 'x.pid'\n"),
    ],
)
def test_one_that_a_file_switches_on_stays_where_we_could_not_do_it_better(line: str, name: str, text: str) -> None:
    found = with_file(line, name, text)
    assert (found.watch, found.channel, found.reload) == (False, False, "own")


@pytest.mark.parametrize(
    "text", ["reload = DEBUG\n", "reload = False\n", "reload = (", "\0", "reload = [] * 2\n", "def reload(): True\n"]
)
def test_a_file_that_does_not_say_so_switches_nothing_on(text: str) -> None:
    assert with_file("gunicorn shop", "gunicorn.conf.py", text).notes == ()


def test_a_reloader_that_is_off_for_sure_is_not_on() -> None:
    assert not kind("flask --debug run", FLASK_RUN_RELOAD="0").notes
    assert not with_file("flask run", ".flaskenv", "FLASK_DEBUG=1\n", env={"FLASK_DEBUG": "0"}).notes


def test_who_asks_whether_flask_reloads_is_answered_where_we_do_it() -> None:
    assert kind("flask --debug run").env == {"WERKZEUG_RUN_MAIN": "devstack"}
    for line in ("flask run", "flask --debug run --no-reload", "flask --debug run --extra-files x.yaml"):
        assert not kind(line).env


def test_gunicorn_listens_where_its_file_says() -> None:
    said = {"bind = '127.0.0.1:9'": 9, "bind = ['127.0.0.1:9']": 9, "bind = HERE": 8000, "": 8000}
    for text, port in said.items():
        assert with_file("gunicorn shop", "gunicorn.conf.py", text).url.endswith(f":{port}")
        assert with_file("gunicorn shop -b :1", "gunicorn.conf.py", text).url.endswith(":1")


@pytest.mark.parametrize(
    ("line", "reload", "channel"),
    [
        ("gunicorn s", "beside", True),
        ("gunicorn s --reuse-port", "replace", True),
        ("gunicorn s -b unix:g.sock", "replace", True),
        ("uvicorn s", "beside", True),
        ("uvicorn s --workers 1", "beside", True),
        ("uvicorn s --workers 2", "replace", False),
        ("uvicorn s --fd 3", "replace", True),
        ("daphne s", "beside", True),
        ("daphne s -u d.sock", "replace", True),
        ("hypercorn s", "beside", True),
        ("hypercorn s -w 0", "beside", True),
        ("hypercorn s -w 1", "replace", False),
        ("granian s --no-reload", "replace", False),
        ("waitress-serve s", "replace", True),
        ("flask run", "beside", True),
        ("flask --debug run --no-reload", "beside", True),
        ("python manage.py runserver --noreload", "beside", True),
    ],
)
def test_a_server_without_a_reloader_is_reloaded_by_us(line: str, reload: str, channel: bool) -> None:
    found = kind(line, GRANIAN_RELOAD="1")
    assert (found.watch, found.reload, found.channel, found.notes) == (True, reload, channel, ())


def test_several_processes_that_the_environment_asks_for_count() -> None:
    assert kind("uvicorn s", WEB_CONCURRENCY="4").reload == "replace"
    assert ran("uvicorn s --reload", WEB_CONCURRENCY="4") == "uvicorn s --workers 1"


def test_on_windows_the_old_code_stops_before_the_new_one_starts() -> None:
    for line in ("uvicorn s", "python manage.py runserver"):
        found = recognise(shlex.split(line), replace(CONTEXT, system="win32"))
        assert (found.watch, found.reload) == (True, "replace")


@pytest.mark.parametrize(
    ("line", "signal", "group", "grace"),
    [
        ("gunicorn shop", "TERM", False, 30),
        ("gunicorn shop --graceful-timeout 90", "TERM", False, 90),
        ("gunicorn shop --graceful-timeout 1", "TERM", False, 10),
        ("gunicorn shop --graceful-timeout x", "TERM", False, 30),
        ("uvicorn shop:app", "TERM", True, 10),
        ("uvicorn shop:app --timeout-graceful-shutdown 20", "TERM", True, 20),
        ("daphne shop:app", "TERM", True, 10),
        ("hypercorn shop:app", "INT", True, 10),
        ("granian shop:app", "INT", True, 10),
        ("waitress-serve shop:app", "INT", False, 10),
        ("flask run", "INT", True, 10),
    ],
)
def test_each_is_asked_to_leave_so_that_a_running_request_is_answered(
    line: str, signal: str, group: bool, grace: float
) -> None:
    found = kind(line)
    assert (found.stop_signal, found.signal_group, found.grace) == (signal, group, grace)


def test_a_server_that_would_hide_in_the_background_is_refused() -> None:
    for option in ("-D", "--daemon"):
        with pytest.raises(DevstackError, match="goes into the background"):
            kind(f"gunicorn shop {option}")


def test_flask_has_other_commands() -> None:
    assert kind("flask --app run db upgrade") == OTHER


# ---- Node -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "ready_within"),
    [
        ("npm run dev", None),
        ("npm start", None),
        ("npm --prefix frontend run dev:css", None),
        ("npm run dev -- --port 3000", None),
        ("yarn dev", None),
        ("yarn --cwd frontend run serve", None),
        ("pnpm --filter web dev", None),
        ("bun run dev", None),
        ("npm.cmd run dev", None),
        ("npx vite", 60),
        ("npx --yes next dev -p 3000", 60),
        ("pnpm exec vite --port 3000", 60),
        ("yarn vite", 60),
        ("vite", 60),
        ("vite --port 3000", 60),
        ("node_modules/.bin/vite preview", 60),
        ("next dev", 60),
        ("nuxt dev", 60),
        ("webpack serve --mode development", 60),
        ("webpack-dev-server", 60),
        ("ng serve", 60),
    ],
)
def test_a_development_server_of_node_is_ready_when_it_has_opened_a_port(line: str, ready_within: float | None) -> None:
    found = kind(line)
    assert (found.name, found.role, found.ready_within) == ("node", "web", ready_within)
    assert (found.probe.how, dict(found.probe.options)) == ("tcp", {"port": None})
    assert (found.stop_signal, found.signal_group, found.watch) == ("TERM", True, False)


@pytest.mark.parametrize(
    "line",
    [
        "npm run build",
        "npx tailwindcss --watch",
        "vite build",
        "webpack --watch",
        "esbuild in.js",
        "tailwindcss -w",
        "npm run worker",
    ],
)
def test_a_build_is_not_asked_for_a_port(line: str) -> None:
    found = kind(line)
    assert (found.name, found.role, found.probe.how) == ("node", "other", "none")


def test_only_what_we_do_not_know_waits_for_redis() -> None:
    assert kind("npx vite").after == ()
    assert kind("npx tailwindcss -w").after == ()
    assert kind("npm run dev").after == ("redis",)
    assert kind("npm run worker").after == ("redis", "oneshot")
    assert kind("node server.js") == OTHER


@pytest.mark.parametrize("line", ["npm", "npm run", "npm --prefix x", "npx"])
def test_words_that_name_no_script_stay_other(line: str) -> None:
    assert kind(line) == OTHER


# ---- any words ------------------------------------------------------------------------------------------------------------

PROGRAMS = [
    "python",
    "manage.py",
    "runserver",
    "gunicorn",
    "uvicorn",
    "daphne",
    "hypercorn",
    "granian",
    "flask",
    "run",
    "npm",
    "vite",
]
ODDITIES = [
    "-m",
    "-b",
    "--bind",
    "-p",
    "--port=",
    "--host",
    "-e",
    "unix:",
    "tcp:",
    "[",
    "[::1",
    "::",
    ":",
    "8000",
    "-W",
    "",
    "--fd",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PROGRAMS + ODDITIES) | st.text(max_size=6), max_size=7))
def test_no_words_end_in_a_traceback(words: list[str]) -> None:
    for system in ("linux", "win32"):
        recognise(words, replace(CONTEXT, system=system))


FLAGS = ["-W", "-X", "-u", "-um", "-Wd", "-mx", "-m", "m.py", "dev", "-c", "-", "--help", "-OO"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(FLAGS), max_size=5))
def test_the_words_of_a_python_program_are_all_kept(words: list[str]) -> None:
    ran = arguments.python_program(["python", *words])
    if ran:
        again = [*ran.flags, *(["m"] if ran.how == "module" else []), ran.what, *ran.arguments]
        assert "".join(again).replace("-", "") == "".join(words).replace("-", "")


def test_watchers_that_end_with_their_standard_input_keep_it() -> None:
    assert [
        kind(line).open_stdin for line in ("npx tailwindcss -w", "npm run dev", "python manage.py tailwind start")
    ] == [True] * 3
    assert not kind("python manage.py runserver").open_stdin
