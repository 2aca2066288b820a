"""WSGI and ASGI servers: gunicorn, uvicorn, daphne, hypercorn, granian, waitress, and Flask's own.

How each is asked to leave was measured with a request under way, the processes it leaves behind, and `uv run` around it:
    server     signal  to           otherwise
    gunicorn   TERM    the master   INT drops the request; UvicornWorkers never end on an INT to the master
    uvicorn    TERM    all          INT twice (from us and from uv) drops the request
    daphne     TERM    all          either signal drops the request at once
    hypercorn  INT     all          TERM to its workers drops the request
    granian    INT     all          TERM to all makes its reloader exit 1
    waitress   INT     the process  TERM drops the request, and so does INT twice
    flask      INT     all          TERM runs no atexit functions
The end of a process that was told to leave is no failure, whatever its code (uvicorn's is -15).

Whose socket the next run can take over, with 100 requests a second and none lost:
    gunicorn, uvicorn with asyncio or uvloop, daphne, hypercorn and Flask in one process    yes
    uvicorn and hypercorn with several                                                      no: their code runs where we are not
    granian, waitress                                                                       no: Rust listens; drops what is queued
A reloader that was told of more than Python files and the working directory (`--reload-include`, `--extra-files` …) stays. One that a
variable or a configuration file switches on is found there, and kept off by `inside/reloaders` where no option does that.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable

from devstack.errors import DevstackError
from devstack.kinds import Context, Kind
from devstack.kinds.arguments import is_on, literals, option, options, positionals, program, without
from devstack.kinds.web import UNKNOWN, Address, address, at, first, server

Words = list[str]
GRACE = 10.0


def recognise(argv: list[str], context: Context) -> Kind | None:
    name, words = program(argv)
    reader = READERS.get(name)
    return reader(words, context) if reader else None


def _gunicorn(words: Words, context: Context) -> Kind:
    """Without an address it listens on 0.0.0.0:$PORT, unless its gunicorn.conf.py, which it reads by itself, says otherwise."""
    if {"-D", "--daemon"}.intersection(words):
        raise DevstackError(
            "`gunicorn --daemon` goes into the background, where devstack can neither watch nor stop it",
            fix="remove --daemon",
        )
    with contextlib.suppress(ValueError):  # gunicorn will say so itself.
        words = [*shlex.split(context.env.get("GUNICORN_CMD_ARGS", "")), *words]
    binds = options(words, "-b", "--bind")
    config = option(words, "-c", "--config")
    file = (config or "gunicorn.conf.py").removeprefix("file:")
    settings = {} if file.startswith("python:") else literals(context.read(file))
    more = options(words, "--reload-extra-file", "--reload-extra-files") or settings.get("reload_extra_files")
    bind = settings.get("bind", [])
    binds = binds or [each for each in (bind if isinstance(bind, list) else [bind]) if isinstance(each, str)]
    return server(
        "gunicorn",
        first([address(each) for each in binds]),
        context,
        guess=UNKNOWN if config else at("0.0.0.0", context.env.get("PORT") or "8000"),
        tls=bool(option(words, "--certfile", "--keyfile")),
        reloads="--reload" in words or settings.get("reload") is True,
        without=None if more else _without_reloader("--reload-engine"),
        beside=not (option(words, "-p", "--pid") or settings.get("pidfile"))
        and not ("--reuse-port" in words or settings.get("reuse_port")),
        signal_group=False,
        grace=_seconds(option(words, "--graceful-timeout"), 30.0),
    )


def _uvicorn(words: Words, context: Context) -> Kind:
    """With --reload it ignores how many workers it is told to have."""
    said = "--reload" in words or is_on(context.env, "UVICORN_RELOAD")
    more = options(words, "--reload-dir", "--reload-include", "--reload-exclude") or any(
        context.env.get(f"UVICORN_RELOAD_{each}") for each in ("DIRS", "INCLUDES", "EXCLUDES")
    )
    many = [context.env.get("WEB_CONCURRENCY", ""), *options(words, "--workers")][-1] not in ("", "1")

    def alone(argv: Words) -> Words:
        argv = without(argv, {"--reload"}, {"--reload-delay"})
        return [*without(argv, (), {"--workers"}), "--workers", "1"] if many else argv

    return server(
        "uvicorn",
        _host_and_port(words, context, "UVICORN_"),
        context,
        tls=bool(option(words, "--ssl-certfile", "--ssl-keyfile")),
        reloads=said,
        without=alone if said and not more else None,
        spawns=many and not said,
        beside=option(words, "--fd") is None,
        grace=_seconds(option(words, "--timeout-graceful-shutdown"), GRACE),
    )


def _granian(words: Words, context: Context) -> Kind:
    certificate = option(words, "--ssl-certificate") or context.env.get("GRANIAN_SSL_CERTIFICATE")
    reloads = "--reload" in words or (is_on(context.env, "GRANIAN_RELOAD") and "--no-reload" not in words)
    where = _host_and_port(words, context, "GRANIAN_")
    return server("granian", where, context, tls=bool(certificate), reloads=reloads, spawns=True, stop_signal="INT")


def _host_and_port(words: Words, context: Context, prefix: str) -> Address:
    """uvicorn and granian: three options, each with its variable. `--fd` is an open socket whose address only the process knows."""

    def said(name: str, default: str = "") -> str:
        return option(words, f"--{name}") or context.env.get(f"{prefix}{name.upper()}") or default

    if said("uds"):
        return Address(path=said("uds"))
    return UNKNOWN if said("fd") else at(said("host", "127.0.0.1"), said("port", "8000"))


def _daphne(words: Words, context: Context) -> Kind:
    where, tls = at(option(words, "-b", "--bind") or "127.0.0.1", option(words, "-p", "--port") or "8000"), False
    inherits = option(words, "--fd") is not None
    if endpoint := option(words, "-e", "--endpoint"):
        where, tls = _twisted(endpoint), endpoint.startswith("ssl:")
    elif path := option(words, "-u", "--unix-socket"):
        where = Address(path=path)
    elif inherits:
        where = UNKNOWN
    return server("daphne", where, context, tls=tls, beside=not inherits)


def _twisted(endpoint: str) -> Address:
    """`tcp:port=8000:interface=127.0.0.1`, `ssl:443:privateKey=…`, `unix:/path`."""
    kind, *values = endpoint.split(":")
    named = dict(each.split("=", 1) for each in values if "=" in each)
    bare = [each for each in values if "=" not in each]
    if kind == "unix":
        return Address(path=named.get("address") or "".join(bare[:1]))
    return at(named.get("interface", "127.0.0.1"), named.get("port") or "".join(bare[:1]))


def _hypercorn(words: Words, context: Context) -> Kind:
    """It starts a process for its code even if there is to be only one: without that it is the same server."""
    binds = options(words, "-b", "--bind")
    config = option(words, "-c", "--config")
    where = first([address(each) for each in binds])
    if not binds and config is None:
        where = at("127.0.0.1", "8000")
    many = option(words, "-w", "--workers") or config

    def alone(argv: Words) -> Words:
        argv = without(argv, {"--reload"})
        return argv if many else [*argv, "--workers", "0"]

    return server(
        "hypercorn",
        where,
        context,
        tls=bool(option(words, "--certfile")),
        reloads="--reload" in words or _of_hypercorn(config, context).get("use_reloader") is True,
        without=None if many else alone,
        spawns=bool(many) and option(words, "-w", "--workers") != "0",
        beside=option(words, "-p", "--pid") is None,
        stop_signal="INT",
        grace=_seconds(option(words, "--graceful-timeout"), GRACE),
    )


def _of_hypercorn(config: str | None, context: Context) -> dict[str, object]:
    """A TOML file, unless it says otherwise."""
    if not config or config.startswith("python:"):
        return {}
    if config.startswith("file:"):
        return literals(context.read(config.removeprefix("file:")))
    import tomllib

    with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
        return tomllib.loads(context.read(config))
    return {}


def _waitress(words: Words, context: Context) -> Kind:
    listens = [address(each, "8080", "0.0.0.0") for text in options(words, "--listen") for each in text.split()]
    where = first(listens) if listens else at(option(words, "--host") or "0.0.0.0", option(words, "--port") or "8080")
    if path := option(words, "--unix-socket"):
        where = Address(path=path)
    return server("waitress", where, context, beside=False, stop_signal="INT", signal_group=False)


def _flask(words: Words, context: Context) -> Kind | None:
    """`flask … run …`. A .flaskenv, which it reads by itself if it can, may give it another port, or switch its reloader on."""
    if positionals(words, {"-A", "--app", "-e", "--env-file"})[:1] != ["run"]:
        return None
    port = option(words, "-p", "--port") or context.env.get("FLASK_RUN_PORT")
    host = option(words, "-h", "--host") or context.env.get("FLASK_RUN_HOST") or "127.0.0.1"
    env = {**_flaskenv(context), **context.env}
    debug = "--debug" in words or (is_on(env, "FLASK_DEBUG") and "--no-debug" not in words)
    reloads = is_on(env, "FLASK_RUN_RELOAD") if env.get("FLASK_RUN_RELOAD") else debug
    reloads = "--reload" in words or (reloads and "--no-reload" not in words)
    files = option(words, "--extra-files") or env.get("FLASK_RUN_EXTRA_FILES")
    ours = reloads and not files
    return server(
        "flask",
        at(host, port) if port else Address(host),
        context,
        guess=at(host, "5000"),
        tls=option(words, "--cert") is not None,
        reloads=reloads,
        without=(lambda argv: [*without(argv, {"--reload"}), "--no-reload"]) if ours else None,
        env={"WERKZEUG_RUN_MAIN": "devstack"} if ours and not context.own_reload else {},
        stop_signal="INT",
    )


def _flaskenv(context: Context) -> dict[str, str]:
    if not (text := context.read(".flaskenv")):
        return {}
    from io import StringIO

    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value}


def _without_reloader(*with_value: str) -> Callable[[Words], Words]:
    return lambda argv: without(argv, {"--reload"}, with_value)


def _seconds(said: str | None, default: float) -> float:
    """How long it takes its time for: at least as long as it was told to."""
    try:
        return max(GRACE, float(said)) if said else default
    except ValueError:
        return default


READERS: dict[str, Callable[[Words, Context], Kind | None]] = {
    "gunicorn": _gunicorn,
    "uvicorn": _uvicorn,
    "daphne": _daphne,
    "hypercorn": _hypercorn,
    "granian": _granian,
    "waitress-serve": _waitress,
    "waitress": _waitress,
    "flask": _flask,
}
