"""From files and options to a Project: what runs, in which order and environment, and where each value came from."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devstack.config.load import Project, load
from devstack.config.options import Options
from devstack.core.model import Launch, ProbeSpec, Service
from devstack.core.record import replace
from devstack.errors import DevstackError

WORDS = r"""
celery -A worker beat flower multi python manage.py -m runserver gunicorn redis-server uv run env A=b watchfiles watchmedo auto-restart
sh bash zsh -c 'celery\ -A\ x\ worker' 'cd\ nowhere;\ celery' "sh -c 'celery worker'" '"' "exec celery $X && flower" "A=1 celery worker|cat"
-- && ; | $PORT ${X:-y} cd . export exec ' " \ * ( ) & -b --bind= :80 unix:x 'a b' -n npm node dotenv
""".split()
ROOT = Path(__file__).parents[2]
Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes files (their paths as keys) into a project and loads it."""

    def made(files: dict[str, str] | None = None, /, environ: dict[str, str] | None = None, **options: Any) -> Project:
        project = tmp_path / "shop"
        project.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        here = {"PATH": os.defpath, "DEVSTACK_STATE_DIR": str(tmp_path / "state"), **(environ or {})}
        return load(replace(Options(environ=here, current=project), **options))

    return made


def refused(make: Make, files: dict[str, str], **options: Any) -> DevstackError:
    with pytest.raises(DevstackError) as caught:
        make(files, **options)
    return caught.value


def services(project: Project) -> dict[str, Service]:
    return {service.name: service for service in project.services}


def source(project: Project, key: str, scope: str = "") -> str:
    return next(each.source for each in project.explained if (each.scope, each.key) == (scope, key))


STACK = """\
release: python manage.py migrate
web: gunicorn shop.wsgi --bind 127.0.0.1:$PORT
worker: celery -A shop worker
beat: celery -A shop beat
"""


# ---- the order ------------------------------------------------------------------------------------------------------------


def test_one_shots_come_first_then_web_and_workers_then_beat(make: Make) -> None:
    found = services(make({"Procfile": STACK}))
    assert list(found) == ["release", "web", "worker", "beat"]
    assert found["release"].oneshot
    assert found["release"].needs == ()
    assert "release" in found["web"].needs
    assert "release" in found["worker"].needs
    assert "release" in found["beat"].needs


def test_a_redis_line_is_waited_for(make: Make) -> None:
    project = make({"Procfile": "web: gunicorn shop\nworker: celery -A shop worker\nredis: redis-server\n"})
    assert "redis" in services(project)["worker"].needs
    assert services(project)["redis"].needs == ()


def test_a_process_called_redis_is_waited_for_whatever_it_runs(make: Make) -> None:
    project = make({"Procfile": "worker: celery -A shop worker\nredis: docker compose up redis\n"})
    assert services(project)["worker"].needs == ("redis",)


def test_a_command_that_asks_workers_is_not_waited_for_by_them(make: Make) -> None:
    found = services(make({"Procfile": "worker: celery -A shop worker\nstatus: celery -A shop status\n"}))
    assert found["status"].needs == ("worker",)
    assert found["worker"].needs == ()


def test_a_command_that_a_kind_refuses_is_refused_with_its_line(make: Make) -> None:
    assert refused(make, {"Procfile": "web: x\nworker: celery multi start 3 -A shop\n"}).where == "Procfile:2"


def test_a_redis_that_devstack_adds_comes_first_and_is_waited_for(make: Make) -> None:
    project = make({"Procfile": STACK})
    project.add(Service("redis", role="redis"))
    assert project.services[0].name == "redis"
    assert all("redis" in each.needs for each in project.services[1:] if each.name in project.waits_for_redis)
    assert "worker" in project.waits_for_redis


def test_needs_of_the_settings_replace_those_of_the_kind(make: Make) -> None:
    project = make({"Procfile": "a: sleep 1\nb: sleep 1\n", "devstack.toml": '[processes.a]\nneeds = ["b", "redis"]\n'})
    assert services(project)["a"].needs == ("b",)
    assert "a" in project.waits_for_redis
    assert source(project, "needs", "a") == "devstack.toml:2"


def test_a_circle_of_needs_is_named(make: Make) -> None:
    toml = '[processes.a]\nneeds = ["b"]\n[processes.b]\nneeds = ["c"]\n[processes.c]\nneeds = ["a"]\n'
    error = refused(make, {"Procfile": "a: x\nb: x\nc: x\n", "devstack.toml": toml})
    assert error.what == "a, b and c wait for each other, in a circle"
    assert error.why == "a needs b, b needs c, c needs a"
    assert error.where == "devstack.toml:2"
    assert refused(make, {"devstack.toml": '[processes.a]\nneeds = ["a"]\n'}).what == "a needs itself"


def test_an_unknown_need_is_an_error_with_the_nearest(make: Make) -> None:
    error = refused(
        make, {"Procfile": "web: x\ndatabase: x\n", "devstack.toml": '[processes.web]\nneeds = ["databse"]\n'}
    )
    assert (error.fix, error.where) == ('did you mean "database"?', "devstack.toml:2")


def test_one_shots_run_one_after_the_other(make: Make) -> None:
    toml = "[processes.seed]\noneshot = true\n"
    found = services(make({"Procfile": "release: ./a\nseed: ./b\nweb: ./c\n", "devstack.toml": toml}))
    assert found["seed"].needs == ("release",)
    assert found["web"].needs == ("release", "seed")


# ---- which and how many ----------------------------------------------------------------------------------------------------


def test_named_processes_bring_what_they_need_with_a_word(make: Make) -> None:
    project = make({"Procfile": STACK}, names=("web",))
    assert list(services(project)) == ["release", "web"]
    assert "also starts release, which web needs" in project.notes


def test_an_unknown_name_is_an_error_with_the_nearest(make: Make) -> None:
    assert refused(make, {"Procfile": STACK}, names=("wrker",)).fix == 'did you mean "worker"?'
    assert "release, web, worker, beat" in refused(make, {"Procfile": STACK}, names=("zzz",)).fix


def test_the_formation_says_how_many(make: Make) -> None:
    toml = 'formation = "worker=3"\n[processes.web]\ninstances = 2\n'
    project = make({"Procfile": STACK, "devstack.toml": toml}, formation="beat=0")
    assert {each.name: each.instances for each in project.services} == {"release": 1, "web": 2, "worker": 3}
    assert source(project, "instances", "worker") == "devstack.toml:1"
    assert source(project, "instances", "web") == "devstack.toml:3"


def test_a_process_that_is_left_out_is_not_waited_for(make: Make) -> None:
    files = {"Procfile": "a: x\nb: x\n", "devstack.toml": '[processes.a]\nneeds = ["b"]\n'}
    project = make(files, formation="b=0")
    assert services(project)["a"].needs == ()
    assert "a does not wait for b, which is left out" in project.notes


def test_a_name_wins_over_a_zero_in_the_settings_but_not_on_the_command_line(make: Make) -> None:
    files = {"Procfile": STACK, "devstack.toml": 'formation = "beat=0"\n'}
    assert "beat" not in services(make(files))
    assert "beat" in services(make(files, names=("beat",)))
    assert "leaves it out" in refused(make, files, names=("beat",), formation="beat=0").what


def test_nothing_left_to_start_is_an_error(make: Make) -> None:
    assert refused(make, {"Procfile": "web: x\n"}, formation="all=0").what == "there is nothing to start"


def test_beat_runs_once(make: Make) -> None:
    error = refused(make, {"Procfile": STACK}, formation="beat=2")
    assert (error.what, error.where) == ("beat can run only once", "Procfile:4")


# ---- the environment -------------------------------------------------------------------------------------------------------


def test_port_counts_lines_and_instances(make: Make) -> None:
    found = services(make({"Procfile": "a: x\nb: x\nc: x\n"}, formation="c=2,b=0"))
    assert [found["a"].launch(1).port, found["c"].launch(1).port, found["c"].launch(2).port] == [5000, 5200, 5201]
    env = found["c"].launch(2).env
    assert (env["PORT"], env["PS"], env["DEVSTACK_PROCESS"]) == ("5201", "c.2", "c.2")


def test_the_base_of_port_is_the_option_then_env_file_then_environment_then_settings(make: Make) -> None:
    files = {"Procfile": "web: x\n", "devstack.toml": "port = 4\n"}

    def port(**options: Any) -> tuple[int | None, str]:
        project = make(files, **options)
        return project.services[0].launch(1).port, source(project, "port")

    assert port() == (4, "devstack.toml:1")
    assert port(environ={"PORT": "3"}) == (3, "environment")
    files[".env"] = "A=1\nPORT=2\n"
    assert port(environ={"PORT": "3"}) == (2, ".env:2")
    assert port(port=1) == (1, "--port")
    assert port(port=1, sources={"port": "DEVSTACK_PORT"}) == (1, "DEVSTACK_PORT")


def test_the_default_port_avoids_airplay(make: Make) -> None:
    assert make({"Procfile": "web: x\n"}, system="darwin").services[0].launch(1).port == 8000


def test_a_port_that_is_no_number_is_an_error_in_a_file_and_a_note_in_the_environment(make: Make) -> None:
    project = make({"Procfile": "web: x\n"}, environ={"PORT": "tcp://10.0.0.1:80"})
    assert project.services[0].launch(1).port == 5000
    assert any("PORT=tcp://10.0.0.1:80" in note for note in project.notes)
    assert refused(make, {".env": "PORT=high\n"}).where == ".env:1"


def test_the_environment_wins_over_the_file_unless_turned_round(make: Make) -> None:
    files = {"Procfile": "web: x\n", ".env": "A=file\nB=file\n"}
    env = make(files, environ={"A": "real"}).services[0].launch(1).env
    assert (env["A"], env["B"]) == ("real", "file")
    project = make(files, environ={"A": "real"}, env_overrides=True)
    assert project.services[0].launch(1).env["A"] == "file"
    assert source(project, "env A", "web") == ".env:1"


def test_variables_of_one_process_win_over_everything_shared(make: Make) -> None:
    toml = '[processes.web]\nenv = { A = "own", PORT = "7000" }\n'
    project = make({"Procfile": "web: x\n", ".env": "A=file\n", "devstack.toml": toml}, environ={"A": "real"})
    launch = project.services[0].launch(1)
    assert (launch.env["A"], launch.env["PORT"], launch.port) == ("own", "7000", 7000)


def test_what_is_injected_later_lies_under_what_a_person_set(make: Make) -> None:
    project = make({"Procfile": "web: x\n", ".env": "CELERY_BROKER_URL=redis://theirs\n"})
    project.injected |= {"CELERY_BROKER_URL": "redis://ours", "CELERY_RESULT_BACKEND": "redis://ours"}
    env = project.services[0].launch(1).env
    assert (env["CELERY_BROKER_URL"], env["CELERY_RESULT_BACKEND"]) == ("redis://theirs", "redis://ours")


def test_python_is_told_not_to_buffer_unless_the_person_says_otherwise(make: Make) -> None:
    project = make({"Procfile": "web: x\n"}, environ={"PYTHONUTF8": "0"}, run="r1")
    env = project.services[0].launch(1).env
    assert (env["PYTHONUNBUFFERED"], env["PYTHONUTF8"], env["DEVSTACK_RUN"]) == ("1", "0", "r1")
    assert "OBJC_DISABLE_INITIALIZE_FORK_SAFETY" not in env
    env = make({}, system="darwin").services[0].launch(1).env
    assert env["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] == "YES"


def test_colour_is_forced_only_when_ours_is_on_and_nobody_minds(make: Make) -> None:
    files = {"Procfile": "web: x\n"}
    assert "FORCE_COLOR" not in make(files).services[0].launch(1).env
    assert make(files, colour=True).services[0].launch(1).env["FORCE_COLOR"] == "1"
    assert "FORCE_COLOR" not in make(files, colour=True, environ={"NO_COLOR": "1"}).services[0].launch(1).env
    assert make(files, colour=True, environ={"FORCE_COLOR": "0"}).services[0].launch(1).env["FORCE_COLOR"] == "0"


def virtual_environment(path: Path) -> None:
    (path / "bin").mkdir(parents=True)
    (path / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (path / "bin" / "python").symlink_to("/usr/bin/env")


def test_the_projects_venv_comes_first_on_path(make: Make, tmp_path: Path) -> None:
    virtual_environment(tmp_path / "shop" / ".venv")
    project = make({"Procfile": "web: x\n"}, environ={"PYTHONHOME": "/nowhere"})
    env = project.services[0].launch(1).env
    assert env["PATH"].split(os.pathsep)[0] == str(tmp_path / "shop" / ".venv" / "bin")
    assert env["VIRTUAL_ENV"] == str(tmp_path / "shop" / ".venv")
    assert "PYTHONHOME" not in env


def test_a_command_that_changes_its_directory_gets_the_venv_there(make: Make, tmp_path: Path) -> None:
    virtual_environment(tmp_path / "shop" / "backend" / "venv")
    project = make({"Procfile": "web: cd backend && python manage.py runserver\n", "backend/manage.py": ""})
    launch = project.services[0].launch(1)
    assert launch.cwd == str(tmp_path / "shop" / "backend")
    assert launch.env["VIRTUAL_ENV"] == str(tmp_path / "shop" / "backend" / "venv")
    assert not launch.shell


def test_the_settings_name_the_venv_or_none(make: Make, tmp_path: Path) -> None:
    virtual_environment(tmp_path / "shop" / ".venv")
    virtual_environment(tmp_path / "elsewhere")
    project = make({"Procfile": "web: x\n", "devstack.toml": 'venv = "../elsewhere"\n'})
    assert project.services[0].launch(1).env["VIRTUAL_ENV"] == str(tmp_path / "elsewhere")
    assert make({"devstack.toml": 'venv = "none"\n'}).venv is None
    assert refused(make, {"devstack.toml": 'venv = "nowhere"\n'}).where == "devstack.toml:1"


# ---- the commands ----------------------------------------------------------------------------------------------------------


def test_a_simple_command_runs_without_a_shell(make: Make) -> None:
    launch = make({"Procfile": "x: A=${B:-c} tail -f 'a b' $PORT\n"}).services[0].launch(1)
    assert (launch.argv, launch.shell, launch.env["A"]) == (("tail", "-f", "a b", "5000"), False, "c")


def test_pipes_and_lists_run_in_a_shell(make: Make) -> None:
    found = services(make({"Procfile": "a: yes | head\nb: echo 1 ; echo 2\n"}))
    assert (found["a"].launch(1).argv, found["a"].launch(1).shell) == (("yes | head",), True)
    assert (found["b"].launch(1).argv, found["b"].launch(1).shell) == (("echo 1 ; echo 2",), True)


@pytest.mark.skipif(os.name == "nt", reason="no /bin/sh")
def test_the_last_program_of_a_chain_replaces_the_shell(make: Make) -> None:
    line = "a: cd src && A='1 2' printenv A && export B=3 && B=\"$B$PORT\" sh -c 'echo $PWD $A $B $0 $$' \"it's\"\n"
    launch = make({"Procfile": line, "src/x": ""}).services[0].launch(1)
    assert launch.shell
    done = subprocess.Popen(
        ["/bin/sh", "-c", *launch.argv], env=launch.env, cwd=launch.cwd, stdout=subprocess.PIPE, text=True
    )
    output, _ = done.communicate(timeout=60)
    assert output.splitlines() == ["1 2", f"{Path(launch.cwd) / 'src'} 35000 it's {done.pid}"]


def test_a_worker_is_started_through_the_channel(make: Make) -> None:
    for line in ("celery -A shop worker", "A=1 python -m celery -A shop worker", "printenv && celery -A shop worker"):
        project = make({"Procfile": f"worker: {line}\n"}, environ={"PATH": os.path.dirname(sys.executable)})
        launch = project.services[0].launch(1)
        assert launch.channel
        assert "boot.py" in " ".join(launch.argv)
        assert not project.services[0].signal_group


def test_a_worker_of_an_environment_that_only_uv_knows_is_left_to_uv(make: Make) -> None:
    project = make(
        {"Procfile": "worker: uv run celery -A shop worker\n"}, environ={"PATH": os.path.dirname(sys.executable)}
    )
    launch = project.services[0].launch(1)
    assert launch.argv[:5] == ("uv", "run", "celery", "-A", "shop")
    assert not launch.channel


def test_a_shell_in_between_gets_its_signals_with_the_whole_group(make: Make) -> None:
    project = make(
        {"Procfile": "worker: celery -A shop worker 2>&1 | cat\n"}, environ={"PATH": os.path.dirname(sys.executable)}
    )
    assert project.services[0].kind == "celery worker"
    assert project.services[0].signal_group
    assert not project.services[0].launch(1).channel


HERE = os.path.dirname(sys.executable)
SCRIPTS = [
    "sh -c 'exec celery -A shop worker'",
    "bash -c 'celery -A shop worker'",
    "A=1 /bin/dash -c 'cd src && B=2 celery -A $APP worker'",
    'sh -c "celery -A $APP worker"',
    "zsh -c 'celery -A shop worker'",
    "nice sh -c 'exec celery -A \"shop\" worker'",
    "watchfiles \"sh -c 'celery -A shop worker'\"",
    "sh -c \"watchmedo auto-restart -- sh -c 'celery -A shop worker'\"",
    "sh -c 'printenv APP && celery -A shop worker'",
]


@pytest.mark.parametrize("line", SCRIPTS)
def test_a_shell_around_one_program_is_that_program(make: Make, line: str) -> None:
    project = make({"Procfile": f"worker: {line}\n", "src/x": ""}, environ={"PATH": HERE, "APP": "shop"})
    launch = project.services[0].launch(1)
    assert launch.channel
    assert project.services[0].kind == "celery worker"
    assert not project.services[0].signal_group
    assert re.search(r"celery'? -A shop worker", " ".join(launch.argv))
    assert "-c" not in launch.argv


KEPT = [
    "sh -c 'celery -A shop worker | tee log'",
    "sh -c 'printenv PATH; celery -A shop worker'",
    "sh -c 'cd nowhere; celery -A *.py worker'",
    "zsh -c 'celery -A $APP worker'",
    "nice sh -c 'celery -A $APP worker'",
    "env APP=1 sh -c 'A=1 celery -A shop worker'",
    "uv run bash -c 'cd src && celery -A shop worker'",
]


@pytest.mark.parametrize("line", KEPT)
def test_a_script_that_needs_its_shell_is_kept_and_its_program_known(make: Make, line: str) -> None:
    project = make({"Procfile": f"worker: {line}\n"}, environ={"PATH": HERE, "APP": "shop"})
    launch = project.services[0].launch(1)
    assert launch.argv == tuple(shlex.split(line))
    assert (launch.channel, launch.shell) == (False, False)
    assert project.services[0].kind == "celery worker"
    assert project.services[0].signal_group


def test_a_script_that_needs_its_shell_loses_its_reloader_and_stays_in_its_chain(make: Make) -> None:
    project = make({"Procfile": "worker: watchfiles \"sh -c 'celery -A shop worker | cat'\"\n"}, environ={"PATH": HERE})
    assert project.services[0].launch(1).argv == ("sh", "-c", "celery -A shop worker | cat")
    line = "printenv PATH && sh -c 'celery -A shop worker | cat'"
    launch = make({"Procfile": f"worker: {line}\n"}, environ={"PATH": HERE}).services[0].launch(1)
    assert (launch.argv, launch.shell, launch.channel) == ((line,), True, False)


@pytest.mark.parametrize("line", ["sh -c ''", "sh -c 'celery -A x worker' sh 1", "bash -lc 'celery worker'", "sh run"])
def test_other_shell_lines_are_programs_like_any(make: Make, line: str) -> None:
    service = make({"Procfile": f"worker: {line}\n"}).services[0]
    assert (service.kind, service.launch(1).argv) == ("other", tuple(shlex.split(line)))


def test_what_a_shell_cannot_read_is_left_to_it(make: Make) -> None:
    assert make({"Procfile": 'x: sh -c "echo \'a"\n'}).services[0].launch(1).argv == ("sh", "-c", "echo 'a")


def test_a_chain_in_a_script_stays_in_its_shell_where_there_is_no_other(make: Make) -> None:
    line = "sh -c 'printenv PATH && celery -A shop worker'"
    launch = make({"Procfile": f"worker: {line}\n"}, system="win32").services[0].launch(1)
    assert (launch.argv, launch.shell) == (tuple(shlex.split(line)), False)


@pytest.mark.skipif(os.name == "nt", reason="no /bin/sh")
@pytest.mark.parametrize(
    "script",
    [
        'A=1 sh -c \'export B=2 && cd src && C="$A $B" exec python show.py $A "$B" $C\'',
        "export A='1 2' && sh -c 'cd src && python show.py $A && B=3 python show.py \"$A\" $B'",
        "A=1 && sh -c 'cd src && A=2 python show.py && python show.py $A'",
        "sh -c \"A=3 sh -c 'cd src && python show.py $PORT'\"",
        "env A=2 sh -c 'python src/show.py \"it is\"'",
    ],
)
def test_what_runs_in_place_of_a_shell_says_the_same(make: Make, script: str) -> None:
    show = "import os, sys; print(sys.argv[1:], [os.environ.get(n) for n in ('A', 'B', 'C', 'PWD')], os.getcwd())\n"
    environ = {"PATH": os.pathsep.join((HERE, os.defpath))}
    plain = make({"Procfile": "x: y\n", "src/show.py": show}, environ=environ).services[0].launch(1)
    launch = make({"Procfile": f"x: {script}\n"}, environ=environ).services[0].launch(1)

    def output(words: list[str], like: Launch) -> str:
        done = subprocess.run(words, env=like.env, cwd=like.cwd, stdout=subprocess.PIPE, text=True, timeout=60)
        return done.stdout

    assert "sh -c" not in " ".join(launch.argv)
    expected = output(["/bin/sh", "-c", script], plain)
    assert output(["/bin/sh", "-c", *launch.argv] if launch.shell else list(launch.argv), launch) == expected != ""


def test_a_directory_that_is_not_there_is_an_error_with_the_nearest(make: Make) -> None:
    error = refused(make, {"Procfile": "web: cd backnd && python manage.py runserver\n", "backend/manage.py": ""})
    assert (error.what, error.fix, error.where) == (
        "there is no directory backnd",
        'did you mean "backend"?',
        "Procfile:1",
    )


def test_a_command_without_a_program_is_an_error(make: Make) -> None:
    assert refused(make, {"Procfile": "web: DEBUG=1\n"}).where == "Procfile:1"


def test_a_command_of_the_settings_replaces_or_adds_a_line(make: Make) -> None:
    toml = '[processes.web]\ncommand = "gunicorn shop"\n[processes.tail]\ncommand = "tail -f log"\n'
    found = services(make({"Procfile": "web: x\nworker: y\n", "devstack.toml": toml}))
    assert {name: each.command for name, each in found.items()} == {
        "web": "gunicorn shop",
        "worker": "y",
        "tail": "tail -f log",
    }
    assert found["tail"].launch(1).port == 5200


def test_settings_alone_are_enough(make: Make) -> None:
    project = make({"devstack.toml": '[processes.web]\ncommand = "gunicorn shop"\n'})
    assert project.procfile is None
    assert list(services(project)) == ["web"]


def test_settings_for_a_process_that_is_not_there_are_named(make: Make) -> None:
    error = refused(make, {"Procfile": "worker: x\n", "devstack.toml": "[processes.wroker]\nport = 1\n"})
    assert (error.fix, error.where) == ('did you mean "worker"?', "devstack.toml:2")
    project = make({"devstack.toml": "[processes.docs]\nport = 1\n"})
    assert any(note.startswith("devstack.toml:2: docs is not in Procfile") for note in project.notes)


def test_a_process_as_written_gets_nothing_added(make: Make) -> None:
    project = make(
        {"Procfile": "worker: celery -A shop worker\n", "devstack.toml": "[processes.worker]\nas_written = true\n"}
    )
    launch = project.services[0].launch(1)
    assert (launch.argv, launch.channel, project.services[0].kind) == (
        ("celery", "-A", "shop", "worker"),
        False,
        "other",
    )


def test_a_reloader_as_written_reloads_and_devstack_does_not(make: Make) -> None:
    line = "watchfiles \"sh -c 'celery -A shop worker'\""
    project = make({"Procfile": f"x: {line}\n", "devstack.toml": "[processes.x]\nas_written = true\n"})
    assert project.services[0].launch(1).argv == tuple(shlex.split(line))
    assert project.services[0].watch == ()
    assert not any("left out" in note for note in project.notes)


@pytest.mark.parametrize(
    ("line", "toml"),
    [
        ("flask run --reload", "watch = false"),
        ("flask run --reload", "[processes.web]\nwatch = false"),
        ("flask run --reload", '[processes.web]\nreload = "own"'),
        ("sh -c 'flask run --reload > log'", ""),
    ],
)
def test_a_server_keeps_its_reloader_where_devstack_does_not_reload_it(make: Make, line: str, toml: str) -> None:
    project = make({"Procfile": f"web: {line}\n", "devstack.toml": toml})
    assert project.services[0].launch(1).argv == tuple(shlex.split(line))
    assert project.services[0].reload == "own"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_any_command_becomes_a_launch_or_an_explanation(make: Make, words: list[str]) -> None:
    with contextlib.suppress(DevstackError):
        for service in make({"Procfile": f"x: {' '.join(words)}\n"}).services:
            assert service.launch(1).argv


# ---- the overrides ---------------------------------------------------------------------------------------------------------


def test_an_open_port_in_a_probe_is_that_of_the_instance(make: Make) -> None:
    toml = '[processes.web]\nprobe = { http = "/up" }\n'
    project = make({"Procfile": "x: a\nweb: ./serve\n", "devstack.toml": toml}, formation="web=2")
    probes = [services(project)["web"].launch(n).probe for n in (1, 2)]
    assert [probe.options["port"] for probe in probes if probe] == [5100, 5101]


def test_give_up_times_come_from_option_process_settings_kind(make: Make) -> None:
    files = {
        "Procfile": "a: x\nb: y\n",
        "devstack.toml": "ready_within = 9\ngrace = 7\n[processes.a]\nready_within = 3\ngrace = 4\n",
    }
    found = services(make(files))
    assert [found["a"].ready_within, found["b"].ready_within] == [3, 9]
    assert [found["a"].grace, found["b"].grace] == [4, 7]
    project = make(files, ready_within=1.0)
    assert {each.ready_within for each in project.services} == {1.0}
    assert source(project, "ready_within", "a") == "--timeout"


def test_watching_follows_option_process_settings_kind(make: Make, tmp_path: Path) -> None:
    root = str(tmp_path / "shop")
    worker = {"Procfile": "worker: celery -A shop worker\nother: x\n", "src/a.py": "", "lib/b.py": ""}
    assert {each.name: each.watch for each in make(worker).services} == {"worker": (root,), "other": ()}
    assert make(worker, watch=False).services[0].watch == ()
    assert make({"devstack.toml": "watch = false\n"}).services[0].watch == ()
    assert make({"devstack.toml": 'watch = ["src"]\n'}).services[0].watch == (f"{root}/src",)
    toml = 'watch = ["src"]\n[processes.other]\nwatch = true\n[processes.worker]\nwatch = ["lib"]\n'
    assert [each.watch for each in make({"devstack.toml": toml}).services] == [(f"{root}/lib",), (f"{root}/src",)]
    assert refused(make, {"devstack.toml": 'watch = ["nowhere"]\n'}).where == "devstack.toml:1"
    assert refused(make, {"devstack.toml": 'watch = ["nowhere/*.html"]\n'}).where == "devstack.toml:1"


def test_a_python_program_that_we_do_not_know_is_spoken_with_where_a_save_restarts_it(make: Make) -> None:
    def channel(line: str, settings: str) -> bool:
        files = {"Procfile": f"job: {line}\n", "devstack.toml": f"[processes.job]\n{settings}\n"}
        return make(files).services[0].launch(1).channel

    assert not channel("python job.py", "")
    assert channel("python job.py", "watch = true")
    assert channel("watchmedo auto-restart -- python job.py", "")
    assert not channel("python job.py", "watch = true\nas_written = true")
    assert not channel("python -c pass", "watch = true")
    assert not channel("ruby job.rb", "watch = true")


def test_files_and_patterns_of_files_can_be_watched_besides_the_python_files(make: Make, tmp_path: Path) -> None:
    root = str(tmp_path / "shop")
    files = {"Procfile": "worker: celery -A shop worker\n", "src/a.py": "", "src/[1].txt": "", "prices.yaml": ""}
    named = 'watch = ["src/**/*.html", "prices.yaml", "src/[1].txt"]\n'
    service = make({**files, "devstack.toml": named}).services[0]
    assert service.watch == (root,)
    assert service.watch_files == ((f"{root}/src", "**/*.html"), (root, "prices.yaml"), (f"{root}/src", "[[]1].txt"))
    service = make({"devstack.toml": 'watch = ["src", "*.yaml"]\n'}).services[0]
    assert (service.watch, service.watch_files) == ((f"{root}/src",), ((root, "*.yaml"),))


@pytest.mark.parametrize("pattern", ["*.py", "'*.py'", "py", "*.{py,html}"])
@pytest.mark.parametrize("command", ["-- ./serve --loud", "./serve -- --loud"])
@pytest.mark.parametrize("prefix", ["", "cd . && /opt/", "python -m watchdog."])
def test_a_command_wrapped_in_a_reloader_is_restarted_by_devstack_instead(
    make: Make, prefix: str, pattern: str, command: str
) -> None:
    project = make(
        {"Procfile": f"x: export A='1' && {prefix}watchmedo auto-restart --directory=. -p {pattern} -R {command}\n"}
    )
    assert project.services[0].launch(1).env["A"] == "1"
    assert project.services[0].launch(1).argv == ("./serve", "--loud")
    assert project.services[0].watch
    assert any("watchmedo" in note for note in project.notes)


def test_a_worker_gets_a_probe_that_asks_the_worker(make: Make) -> None:
    found = services(make({"Procfile": STACK}))
    assert found["worker"].probe.how == "celery"
    assert found["beat"].probe.how == "beat"
    assert found["web"].probe.options["port"] == 5100


def test_settings_override_the_probe_with_their_place(make: Make) -> None:
    project = make({"Procfile": STACK, "devstack.toml": '[processes.worker]\nprobe = "none"\n'})
    assert services(project)["worker"].probe == ProbeSpec("none")
    assert source(project, "probe", "worker") == "devstack.toml:2"


# ---- where -----------------------------------------------------------------------------------------------------------------


def test_procfile_dev_comes_before_procfile(make: Make) -> None:
    files = {"Procfile": "a: x\n", "Procfile.dev": "b: x\n", "deploy/Procfile.local": "c: x\n"}
    assert list(services(make(files))) == ["b"]
    assert list(services(make(files, procfile="Procfile"))) == ["a"]
    assert list(services(make({"devstack.toml": 'procfile = "deploy/Procfile.local"\n'}))) == ["c"]


def test_a_procfile_elsewhere_runs_where_it_lies_unless_told(make: Make, tmp_path: Path) -> None:
    files = {"deploy/Procfile": "a: x\n"}
    project = make(files, procfile="deploy/Procfile")
    assert project.services[0].launch(1).cwd == str(tmp_path / "shop" / "deploy")
    assert "runs in deploy" in project.notes[0]
    project = make(files, procfile="deploy/Procfile", directory=Path("."))
    assert project.services[0].launch(1).cwd == str(tmp_path / "shop")
    assert project.services[0].where == "deploy/Procfile:1"
    (tmp_path / "Procfile.mine").write_text("b: x\n")
    project = make(procfile="Procfile.mine", directory=Path("shop"), current=tmp_path)
    assert (list(services(project)), project.directory) == (["b"], tmp_path / "shop")
    project = make(procfile="deploy/Procfile", directory=Path("shop"), current=tmp_path)
    assert project.services[0].where == "deploy/Procfile:1"


def test_the_procfile_is_looked_for_above_up_to_the_repositorys_root(make: Make, tmp_path: Path) -> None:
    make({"Procfile": "a: x\n", "shop/models/m.py": ""})
    below = tmp_path / "shop" / "shop" / "models"
    with pytest.raises(DevstackError, match="there is no Procfile"):
        make(current=below)
    (tmp_path / "shop" / ".git").mkdir()
    project = make(current=below)
    assert project.directory == tmp_path / "shop"
    assert f"the project is {tmp_path / 'shop'}" in project.notes
    (tmp_path / "shop" / "shop" / ".git").mkdir()
    with pytest.raises(DevstackError, match="there is no Procfile"):
        make(current=below)


def test_a_missing_procfile_is_an_error_that_shows_one(make: Make) -> None:
    files = {
        "backend/manage.py": "",
        "backend/config/__init__.py": "",
        "backend/config/celery.py": "app = Celery('config')\n",
        "backend/shop/tasks.py": "# app = Celery('no')\nCELERY_BEAT_SCHEDULE = {}\n",
        "venv/lib/x.py": "app = Celery('x')\n",
    }
    error = refused(make, files)
    assert error.what.startswith("there is no Procfile in ")
    assert error.fix.split("\n")[1:] == [
        "release: cd backend && python manage.py migrate",
        "web: cd backend && python manage.py runserver",
        "worker: cd backend && celery -A config worker --loglevel=INFO",
        "beat: cd backend && celery -A config beat --loglevel=INFO",
    ]


def test_a_celery_app_in_a_comment_is_no_celery_app(make: Make) -> None:
    error = refused(make, {"manage.py": "", "shop/tasks.py": "# app = Celery('no')\n"})
    assert error.fix.split("\n")[1:] == ["release: python manage.py migrate", "web: python manage.py runserver"]


def test_a_procfile_of_another_name_is_pointed_at(make: Make) -> None:
    assert "devstack up -f Procfile-dev" in refused(make, {"Procfile-dev": "a: x\n"}).why
    assert refused(make, {}, procfile="Procfile.dev").fix == 'did you mean "Procfile-dev"?'


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_directory_that_is_none_is_an_error(make: Make, name: str) -> None:
    assert name in refused(make, {"file": ""}, directory=Path(name)).what


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"Procfile": "web: x\ndevstack: x\n"}, "Procfile:2"),
        ({"Procfile": "web: x\n", "devstack.toml": 'processes.devstack.command = "x"\n'}, "devstack.toml:1"),
    ],
)
def test_no_process_has_the_name_under_which_we_speak(make: Make, files: dict[str, str], where: str) -> None:
    error = refused(make, files)
    assert (error.what, error.where) == ('"devstack" is the name under which devstack itself speaks', where)


@pytest.mark.skipif(sys.platform == "win32", reason="links are for administrators there")
def test_a_procfile_that_is_a_link_to_nothing_is_called_that(make: Make) -> None:
    procfile = make({"Procfile": "a: x\n"}).directory / "Procfile"
    procfile.unlink()
    procfile.symlink_to("gone")
    for options in ({}, {"procfile": "Procfile"}):
        assert refused(make, {}, **options).what == "Procfile is a link to gone, which does not exist"


def test_env_files_are_found_in_the_project_or_here(make: Make) -> None:
    files = {"Procfile": "a: x\n", "a.env": "A=1\n", "dev/b.env": "A=2\nB=2\n"}
    project = make(files, env_files=("dev/b.env", "a.env"))
    assert project.variable("A") == ("1", "a.env:1")
    assert project.variable("B") == ("2", "dev/b.env:2")
    missing = refused(make, {}, env_files=("c.env",))
    assert (missing.what, missing.fix) == ("c.env does not exist", "create it, or take it out of --env-file")
    missing = refused(make, {"devstack.toml": 'env_files = ["d.env"]\n'})
    assert (missing.what, missing.fix) == ("d.env does not exist", "create it, or take it out of devstack.toml:1")
    assert make({"devstack.toml": 'env_files = ["a.env"]\n'}).variable("A") == ("1", "a.env:1")


def test_two_checkouts_of_one_name_have_states_of_their_own(make: Make, tmp_path: Path) -> None:
    one = make({"Procfile": "a: x\n"})
    other = tmp_path / "other" / "shop"
    other.mkdir(parents=True)
    (other / "Procfile").write_text("a: x\n")
    two = make(directory=other)
    assert one.name == two.name == "shop"
    assert one.state_dir != two.state_dir
    assert one.state_dir.parent == tmp_path / "state"


def test_a_state_directory_that_cannot_be_made_is_an_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    project = make({"Procfile": "a: x\n"}, environ={"DEVSTACK_STATE_DIR": str(tmp_path / "file")})
    with pytest.raises(DevstackError, match="cannot use the directory") as caught:
        project.make_directories()
    assert "DEVSTACK_STATE_DIR" in caught.value.fix


def test_nothing_is_written(make: Make, tmp_path: Path) -> None:
    make({"Procfile": STACK})
    assert {path.name for path in tmp_path.rglob("*")} == {"shop", "Procfile"}


def test_the_example_loads_and_each_of_its_programs_is_known(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text((ROOT / "Procfile.example").read_text("utf-8"))
    project = load(Options(current=tmp_path, environ={"PATH": os.defpath}))
    assert list(services(project)) == ["release", "web", "worker", "mail", "beat", "flower"]
    assert all(each.kind != "other" for each in project.services)
    assert [each.oneshot for each in project.services] == [True, False, False, False, False, False]
    assert {"worker", "mail"} <= set(services(project)["flower"].needs)
    assert services(project)["web"].probe.options["port"] == 8000


def test_a_thousand_lines_all_get_a_port(make: Make) -> None:
    project = make({"Procfile": "".join(f"p{n}: run\n" for n in range(1000))})
    ports = [service.launch(1).port for service in project.services]
    assert (ports[0], len(set(ports))) == (5000, 1000)
    assert max(port or 0 for port in ports) < 65536


def test_a_port_beyond_the_last_one_is_refused(make: Make) -> None:
    with pytest.raises(DevstackError) as caught:
        make({"Procfile": "a: run\nb: run\n"}, port=65500)
    assert (caught.value.what, caught.value.where) == ("b.1 would get PORT 65600", "Procfile:2")


@pytest.mark.parametrize(
    ("toml", "flag", "image", "source"),
    [
        ("", False, "", "default"),
        ("docker = false", False, "", "devstack.toml:2"),
        ("docker = true", False, "redis:7-alpine", "devstack.toml:2"),
        ("", True, "redis:7-alpine", "--redis-docker"),
        ("docker = false", True, "redis:7-alpine", "--redis-docker"),
        ('docker = "valkey/valkey:8"', True, "valkey/valkey:8", "--redis-docker"),
    ],
)
def test_the_redis_runs_in_a_container_when_somebody_says_so(
    make: Make, toml: str, flag: bool, image: str, source: str
) -> None:
    project = make({"Procfile": "web: x\n", "devstack.toml": f"[redis]\n{toml}\n"}, redis_docker=flag)
    explained = next(each for each in project.explained if each.key == "redis.docker")
    assert (project.redis_image, explained.value, explained.source) == (image, image or False, source)
