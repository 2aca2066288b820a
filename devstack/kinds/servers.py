"""WSGI and ASGI servers: gunicorn, uvicorn, daphne, granian, hypercorn, Flask's and FastAPI's own.

Rule 1: the port is the one that the server itself would choose: its option, its variable, its default, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from devstack.core.model import ProbeSpec
from devstack.kinds import Context, Kind

GRACE_GUNICORN = 35.0
"""gunicorn's --graceful-timeout is 30 s."""


def recognise(argv: list[str], context: Context) -> Kind | None:
    name, words = program(argv)
    server = SERVERS.get(name)
    return server(words, context) if server else None


def program(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The server's name and its words, also behind `python -m` and `python /path/`."""
    name = _name(argv[0]) if argv else ""
    if not re.fullmatch(r"(python|pypy)[\d.]*w?|py", name):
        return name, list(argv[1:])
    for at, word in enumerate(argv[1:], 1):
        if word == "-m":
            return (_name(argv[at + 1]), list(argv[at + 2 :])) if at + 1 < len(argv) else ("", [])
        if not word.startswith("-") and argv[at - 1] not in ("-W", "-X"):
            return _name(word), list(argv[at + 1 :])
    return "", []


def value(words: Sequence[str], *names: str) -> str | None:
    """The last value given to an option: `-b x`, `-bx`, `--bind x`, `--bind=x`."""
    found = None
    for at, word in enumerate(words):
        for name in names:
            if word == name:
                found = words[at + 1] if at + 1 < len(words) else None
            elif name.startswith("--") and word.startswith(f"{name}="):
                found = word[len(name) + 1 :]
            elif not name.startswith("--") and word.startswith(name) and not word.startswith("--") and len(word) > 2:
                found = word[2:]
    return found


def address(host: str) -> str:
    """The address to connect to for one that a server binds."""
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "0": "127.0.0.1", "": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(host, host)


def web(name: str, host: str, port: int, *, own_reloader: bool = False, scheme: str = "http") -> Kind:
    """A web server that is ready when it answers HTTP. One that restarts itself when files change is not watched."""
    place = f"[{host}]" if ":" in host else host
    return Kind(
        name,
        "web",
        ProbeSpec("http", {"host": host, "port": port}),
        watch=not own_reloader,
        url=f"{scheme}://{place}:{port}",
    )


def _bound(name: str, bind: str, default_port: int, *, own_reloader: bool) -> Kind:
    """From `host:port`, `:port`, `host` or `unix:/path`."""
    if bind.startswith("unix:"):
        path = bind.removeprefix("unix:").removeprefix("//")
        return Kind(name, "web", ProbeSpec("tcp", {"path": path}), watch=not own_reloader)
    match = re.fullmatch(r"(?:tcp://)?(?P<host>\[[0-9a-fA-F:]*\]|[^:]*)(?::(?P<port>\d+))?", bind)
    if match is None:
        # A file descriptor, or something newer than this: whichever port it opens.
        return Kind(name, "web", ProbeSpec("tcp", {"port": None}), watch=not own_reloader)
    return web(name, address(match["host"]), int(match["port"] or default_port), own_reloader=own_reloader)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and 0 < int(text) < 65536 else default


def _gunicorn(words: list[str], context: Context) -> Kind:
    arguments = [*context.env.get("GUNICORN_CMD_ARGS", "").split(), *words]
    port = _number(context.env.get("PORT"), 0)
    bind = value(arguments, "-b", "--bind") or (f"0.0.0.0:{port}" if port else "127.0.0.1:8000")
    kind = _bound("gunicorn", bind, 8000, own_reloader="--reload" in arguments)
    # The arbiter tells its workers to finish; TERM to the whole group would tell them twice.
    return replace(kind, grace=GRACE_GUNICORN, signal_group=False)


def _uvicorn(words: list[str], context: Context) -> Kind:
    own_reloader = "--reload" in words
    if path := value(words, "--uds"):
        return Kind("uvicorn", "web", ProbeSpec("tcp", {"path": path}), watch=not own_reloader)
    host = value(words, "--host") or context.env.get("UVICORN_HOST", "127.0.0.1")
    port = _number(value(words, "--port") or context.env.get("UVICORN_PORT"), 8000)
    return web("uvicorn", address(host), port, own_reloader=own_reloader)


def _daphne(words: list[str], context: Context) -> Kind:
    if path := value(words, "-u", "--unix-socket"):
        return Kind("daphne", "web", ProbeSpec("tcp", {"path": path}), watch=True)
    host, port = value(words, "-b", "--bind") or "127.0.0.1", _number(value(words, "-p", "--port"), 8000)
    return web("daphne", address(host), port)


def _hypercorn(words: list[str], context: Context) -> Kind:
    bind = value(words, "-b", "--bind") or "127.0.0.1:8000"
    return _bound("hypercorn", bind, 8000, own_reloader="--reload" in words)


def _granian(words: list[str], context: Context) -> Kind:
    host = value(words, "--host") or context.env.get("GRANIAN_HOST", "127.0.0.1")
    port = _number(value(words, "--port") or context.env.get("GRANIAN_PORT"), 8000)
    return web("granian", address(host), port, own_reloader="--reload" in words)


def _flask(words: list[str], context: Context) -> Kind | None:
    if "run" not in words:
        return None
    host = value(words, "-h", "--host") or context.env.get("FLASK_RUN_HOST", "127.0.0.1")
    port = _number(value(words, "-p", "--port") or context.env.get("FLASK_RUN_PORT"), 5000)
    debug = context.env.get("FLASK_DEBUG", "").lower() not in ("", "0", "false", "no")
    own = "--no-reload" not in words and ("--reload" in words or "--debug" in words or debug)
    return web("flask", address(host), port, own_reloader=own)


def _fastapi(words: list[str], context: Context) -> Kind | None:
    if words[:1] not in (["dev"], ["run"]):
        return None
    host = value(words, "--host") or ("127.0.0.1" if words[0] == "dev" else "0.0.0.0")
    own = "--no-reload" not in words if words[0] == "dev" else "--reload" in words
    return web("fastapi", address(host), _number(value(words, "--port"), 8000), own_reloader=own)


SERVERS: dict[str, Callable[[list[str], Context], Kind | None]] = {
    "gunicorn": _gunicorn,
    "uvicorn": _uvicorn,
    "daphne": _daphne,
    "hypercorn": _hypercorn,
    "granian": _granian,
    "flask": _flask,
    "fastapi": _fastapi,
}


def _name(word: str) -> str:
    return re.sub(r"(?i)\.exe$", "", re.split(r"[/\\]", word)[-1])
