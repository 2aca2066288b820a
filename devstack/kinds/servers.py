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
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable

from devstack.errors import DevstackError
from devstack.kinds import Context, Kind
from devstack.kinds.arguments import is_on, option, options, positionals, program
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
    return server(
        "gunicorn",
        first([address(each) for each in binds]),
        context,
        guess=UNKNOWN if config else at("0.0.0.0", context.env.get("PORT") or "8000"),
        tls=bool(option(words, "--certfile", "--keyfile")),
        watch="--reload" not in words,
        signal_group=False,
        grace=_seconds(option(words, "--graceful-timeout"), 30.0),
    )


def _uvicorn(words: Words, context: Context) -> Kind:
    return server(
        "uvicorn",
        _host_and_port(words, context, "UVICORN_"),
        context,
        tls=bool(option(words, "--ssl-certfile", "--ssl-keyfile")),
        watch="--reload" not in words and not is_on(context.env, "UVICORN_RELOAD"),
        grace=_seconds(option(words, "--timeout-graceful-shutdown"), GRACE),
    )


def _granian(words: Words, context: Context) -> Kind:
    certificate = option(words, "--ssl-certificate") or context.env.get("GRANIAN_SSL_CERTIFICATE")
    reloads = "--reload" in words or (is_on(context.env, "GRANIAN_RELOAD") and "--no-reload" not in words)
    where = _host_and_port(words, context, "GRANIAN_")
    return server("granian", where, context, tls=bool(certificate), watch=not reloads, stop_signal="INT")


def _host_and_port(words: Words, context: Context, prefix: str) -> Address:
    """uvicorn and granian: three options, each with its variable. `--fd` is an open socket whose address only the process knows."""

    def said(name: str, default: str = "") -> str:
        return option(words, f"--{name}") or context.env.get(f"{prefix}{name.upper()}") or default

    if said("uds"):
        return Address(path=said("uds"))
    return UNKNOWN if said("fd") else at(said("host", "127.0.0.1"), said("port", "8000"))


def _daphne(words: Words, context: Context) -> Kind:
    where, tls = at(option(words, "-b", "--bind") or "127.0.0.1", option(words, "-p", "--port") or "8000"), False
    if endpoint := option(words, "-e", "--endpoint"):
        where, tls = _twisted(endpoint), endpoint.startswith("ssl:")
    elif path := option(words, "-u", "--unix-socket"):
        where = Address(path=path)
    elif option(words, "--fd"):
        where = UNKNOWN
    return server("daphne", where, context, tls=tls, watch=True)


def _twisted(endpoint: str) -> Address:
    """`tcp:port=8000:interface=127.0.0.1`, `ssl:443:privateKey=…`, `unix:/path`."""
    kind, *values = endpoint.split(":")
    named = dict(each.split("=", 1) for each in values if "=" in each)
    bare = [each for each in values if "=" not in each]
    if kind == "unix":
        return Address(path=named.get("address") or "".join(bare[:1]))
    return at(named.get("interface", "127.0.0.1"), named.get("port") or "".join(bare[:1]))


def _hypercorn(words: Words, context: Context) -> Kind:
    binds = options(words, "-b", "--bind")
    where = first([address(each) for each in binds])
    if not binds and option(words, "-c", "--config") is None:
        where = at("127.0.0.1", "8000")
    return server(
        "hypercorn",
        where,
        context,
        tls=bool(option(words, "--certfile")),
        watch="--reload" not in words,
        stop_signal="INT",
        grace=_seconds(option(words, "--graceful-timeout"), GRACE),
    )


def _waitress(words: Words, context: Context) -> Kind:
    listens = [address(each, "8080", "0.0.0.0") for text in options(words, "--listen") for each in text.split()]
    where = first(listens) if listens else at(option(words, "--host") or "0.0.0.0", option(words, "--port") or "8080")
    if path := option(words, "--unix-socket"):
        where = Address(path=path)
    return server("waitress", where, context, watch=True, stop_signal="INT", signal_group=False)


def _flask(words: Words, context: Context) -> Kind | None:
    """`flask … run …`. A .flaskenv, which it reads by itself, may give it another port."""
    if positionals(words, {"-A", "--app", "-e", "--env-file"})[:1] != ["run"]:
        return None
    port = option(words, "-p", "--port") or context.env.get("FLASK_RUN_PORT")
    host = option(words, "-h", "--host") or context.env.get("FLASK_RUN_HOST") or "127.0.0.1"
    debug = "--debug" in words or (is_on(context.env, "FLASK_DEBUG") and "--no-debug" not in words)
    reloads = "--reload" in words or (debug and "--no-reload" not in words)
    return server(
        "flask",
        at(host, port) if port else Address(host),
        context,
        guess=at(host, "5000"),
        tls=option(words, "--cert") is not None,
        watch=not reloads,
        stop_signal="INT",
    )


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
