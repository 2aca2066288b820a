"""devstack.toml and [tool.devstack]: the schema, the errors, and the reference in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.config import dirs, settings
from devstack.config.settings import Settings
from devstack.core.model import ProbeSpec
from devstack.errors import DevstackError


def parse(content: str) -> Settings:
    return settings.parse(content, "devstack.toml")


def refused(content: str) -> DevstackError:
    with pytest.raises(DevstackError) as caught:
        parse(content)
    return caught.value


def probe(value: str) -> ProbeSpec | None:
    return parse(f"[processes.web]\nprobe = {value}").process("web").probe


def test_every_key_can_be_set_and_knows_its_line() -> None:
    found = parse(
        """\
procfile = "Procfile.local"
env_files = [".env", ".env.local"]
env_overrides = true
port = 3000
venv = "../env"
formation = "worker=2"
watch = ["src"]
ready_within = "2m"
grace = 3
max_failures = 2
standby = false
log_size = "2MB"
log_count = 3
[redis]
url = "redis://localhost/1"
start = false
persist = true
docker = "valkey/valkey:8"
[processes.web]
command = "gunicorn shop"
as_written = true
needs = ["db"]
probe = "none"
ready_within = "500ms"
grace = "1.5s"
stop_signal = "SIGINT"
watch = false
env = { DEBUG = "1", WORKERS = 2 }
cwd = "backend"
instances = 3
oneshot = false
port = 8001
reload = "overlap"
drain = 20
standby = true
tty = true
"""
    )
    assert (found.procfile, found.env_files, found.port) == ("Procfile.local", (".env", ".env.local"), 3000)
    assert (found.watch, found.ready_within, found.grace) == (("src",), 120.0, 3.0)
    assert (found.redis.url, found.redis.start, found.redis.persist) == ("redis://localhost/1", False, True)
    assert found.redis.docker == "valkey/valkey:8"
    web = found.process("web")
    assert web.tty
    assert (web.needs, web.ready_within, web.stop_signal) == (("db",), 0.5, "INT")
    assert (web.reload, web.drain, web.standby, found.standby) == ("overlap", 20.0, True, False)
    assert (found.log_size, found.log_count) == (2_000_000, 3)
    assert (web.env, web.probe) == ({"DEBUG": "1", "WORKERS": "2"}, ProbeSpec("none"))
    assert found.sources[("port",)] == "devstack.toml:4"
    assert found.sources[("redis", "url")] == "devstack.toml:15"
    assert found.sources[("processes", "web", "port")] == "devstack.toml:32"
    every = {(key.name,) for key in settings.keys(Settings)}
    every |= {("redis", key.name) for key in settings.keys(settings.RedisSettings)}
    every |= {("processes", "web", key.name) for key in settings.keys(settings.ProcessSettings)}
    assert set(found.sources) == every


@pytest.mark.parametrize(
    ("content", "where", "what", "fix"),
    [
        ("port = 1\nprocfil = 'x'\n", 2, '"procfil"', "procfile"),
        ("[redis]\n# a comment\nurll = 'x'\n", 3, '"redis.urll"', "url"),
        ("[proceses.web]\nport = 1\n", 1, '"proceses"', "processes"),
        ("[processes.web]\n\nready_in = 3\n", 3, '"processes.web.ready_in"', "ready_within"),
        ("[processes]\nweb = { prot = 3 }\n", 2, '"processes.web.prot"', "port"),
        ("processes.web.prot = 3\n", 1, '"processes.web.prot"', "port"),
    ],
)
def test_an_unknown_key_is_an_error_with_its_line_and_the_nearest(
    content: str, where: int, what: str, fix: str
) -> None:
    error = refused(content)
    assert error.where == f"devstack.toml:{where}"
    assert what in error.what
    assert f'did you mean "{fix}"?' == error.fix


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('port = "8000"', 'port must be a port number\n  why: it is "8000"'),
        ("port = 70000", "port must be a port number\n  why: it is 70000"),
        ("port = true", "port must be a port number\n  why: it is true"),
        ("env_overrides = 1", "env_overrides must be true or false\n  why: it is 1"),
        ('grace = "soon"', 'grace must be seconds, or a text such as "90s" or "2m"\n  why: it is "soon"'),
        ("grace = -1", "grace must be seconds"),
        ("grace = nan", "grace must be seconds"),
        ("ready_within = inf", "ready_within must be seconds"),
        ("env_files = 3", "env_files must be a list of texts\n  why: it is 3"),
        ("env_files = [3]", "env_files must be a list of texts\n  why: it is a list"),
        ('processes = "web"', 'processes must be a table\n  why: it is "web"'),
        ("redis = true", "redis must be a table\n  why: it is true"),
        ('redis.docker = "--privileged"', "redis.docker must be true, false or the name of an image"),
        ('redis.docker = "redis 7"', "redis.docker must be true, false or the name of an image"),
        ("redis.docker = 7", "redis.docker must be true, false or the name of an image"),
        ("processes.web = 3", "processes.web must be a table"),
        ('processes.web.stop_signal = "KIL"', "must be one of TERM, INT"),
        ("processes.web.instances = -1", "must be a whole number"),
        ("processes.web.env = { A = true }", "A is neither text nor a number"),
        ('processes.web.env = { "A=B" = 1 }', '"A=B" cannot be a variable'),
        ('processes.web.command = " "', "must be a text"),
        ("log_count = 0", "must be a whole number from 1 to 1000"),
        ("processes.'a b'.port = 1", '"a b" cannot be the name of a process'),
    ],
)
def test_a_wrong_value_is_a_sentence_with_what_was_expected(content: str, says: str) -> None:
    said = str(refused(content)).replace("  (devstack.toml:1)", "")
    assert says in said


@pytest.mark.parametrize(
    ("text", "size"), [("200kB", 200_000), ("200KB", 200_000), ("1 mb", 1_000_000), ("2G", 2 * 10**9)]
)
def test_a_size_may_be_written_as_people_write_it(text: str, size: int) -> None:
    assert parse(f'log_size = "{text}"').log_size == size


def test_broken_toml_is_an_error_with_its_line() -> None:
    error = refused("port = 1\nprocfile = Procfile\n")
    assert error.where == "devstack.toml:2"


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ('"none"', ProbeSpec("none")),
        ('{ http = "/up/" }', ProbeSpec("http", {"host": "127.0.0.1", "port": None, "path": "/up/"})),
        (
            '{ http = "http://localhost:81/a?b", status = 204, every = "5s" }',
            ProbeSpec("http", {"host": "localhost", "port": 81, "path": "/a?b", "status": 204}, 5.0),
        ),
        ('{ http = true, port = 9, path = "/x" }', ProbeSpec("http", {"host": "127.0.0.1", "port": 9, "path": "/x"})),
        ("{ tcp = 5432 }", ProbeSpec("tcp", {"host": "127.0.0.1", "port": 5432})),
        ('{ tcp = "[::1]:5432" }', ProbeSpec("tcp", {"host": "::1", "port": 5432})),
        ('{ tcp = "/run/db.sock" }', ProbeSpec("tcp", {"path": "/run/db.sock"})),
        ("{ tcp = true }", ProbeSpec("tcp", {"host": "127.0.0.1", "port": None})),
        ('{ exec = ["pg_isready", "-q"] }', ProbeSpec("exec", {"command": ["pg_isready", "-q"]})),
        ('{ log = "listening on" }', ProbeSpec("log", {"pattern": "listening on"})),
        ('{ redis = "redis://localhost" }', ProbeSpec("redis", {"url": "redis://localhost"})),
    ],
)
def test_a_probe_is_one_question_with_its_options(value: str, spec: ProbeSpec) -> None:
    assert probe(value) == spec


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{}", "exactly one of http"),
        ("{ tcp = 1, http = 1 }", "exactly one of http"),
        ('{ log = "(" }', "is not a regular expression"),
        ("{ tcp = 0 }", "tcp is a port"),
        ('{ tcp = "db" }', "tcp is a port"),
        ("{ tcp = 1, status = 200 }", '"status" does not belong to tcp'),
        ('{ http = "/x", port = "y" }', "port is not a port"),
        ('{ http = "https://x" }', "begins with http://"),
        ('{ http = "http://[::1" }', "Invalid IPv6 URL"),
        ('{ http = "http://x:99999/" }', "Port out of range"),
        ("{ exec = [] }", "exec is a command"),
        ('{ redis = "localhost" }', "redis is an address"),
        ('"nothing"', 'it is "nothing"'),
    ],
)
def test_a_bad_probe_says_why(value: str, why: str) -> None:
    with pytest.raises(DevstackError) as caught:
        probe(value)
    assert why in caught.value.why


def test_pyproject_is_read_in_its_table_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.devstack]\nport = 3000\n')
    found = settings.read(tmp_path)
    assert (found.port, found.sources[("port",)]) == (3000, "pyproject.toml:4")


def test_a_pyproject_without_our_table_is_none_of_our_business(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = \ndependencies = ["devstack"]\n')
    assert settings.read(tmp_path) == Settings()
    assert not dirs.has_settings(str(tmp_path))


def test_devstack_toml_wins_wholly_and_a_note_says_so(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.devstack]\nport = 3000\nwatch = false\n")
    (tmp_path / "devstack.toml").write_text("port = 4000\n")
    found = settings.read(tmp_path)
    assert (found.port, found.watch) == (4000, True)
    assert found.notes == ("devstack.toml is used; [tool.devstack] in pyproject.toml is not",)


def test_lines_are_found_around_long_strings() -> None:
    found = parse('formation = """\nport = 1\n[redis]\n"""\nport = 2\n[redis] # here\npersist = true\n')
    assert found.sources[("port",)] == "devstack.toml:5"
    assert found.sources[("redis", "persist")] == "devstack.toml:7"
