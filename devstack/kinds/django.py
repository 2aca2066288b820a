"""Django's manage.py: the development server, and the commands that run once (migrate and its like)."""

from __future__ import annotations

import re

from devstack.core.model import ProbeSpec
from devstack.kinds import Context, Kind
from devstack.kinds.servers import address, web

ONE_SHOTS = {
    "migrate", "makemigrations", "collectstatic", "loaddata", "createcachetable", "check", "compilemessages", "createsuperuser", "flush",
    "clearsessions", "compress", "migrate_schemas", "setup_periodic_tasks", "test",
}  # fmt: skip
SERVERS = {"runserver", "runserver_plus", "runsslserver", "testserver"}
ADDRESS = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[^:]+):)?(?P<port>\d+)")


def recognise(argv: list[str], context: Context) -> Kind | None:
    found = command(argv)
    if found is None:
        return None
    name, arguments = found
    if name in SERVERS:
        return _server(name, arguments)
    if name in ONE_SHOTS:
        return Kind(f"django {name}", "oneshot", after=("redis",), ready_within=None, oneshot=True)
    return Kind("django command", watch=True)


def command(argv: list[str]) -> tuple[str, list[str]] | None:
    """The management command and its words: of `python x/manage.py …`, `./manage.py …`, `django-admin …`, `python -m django …`."""
    for at, word in enumerate(argv):
        name = re.split(r"[/\\]", word)[-1]
        if name in ("manage.py", "django-admin", "django-admin.py", "django-admin.exe"):
            rest = argv[at + 1 :]
            break
        if word == "-m" and argv[at + 1 : at + 2] == ["django"]:
            rest = argv[at + 2 :]
            break
        if at and not word.startswith("-") and argv[at - 1] not in ("-W", "-X"):
            return None
    else:
        return None
    return (rest[0], rest[1:]) if rest and not rest[0].startswith("-") and rest[0] != "celery" else None


def _server(name: str, arguments: list[str]) -> Kind:
    host, port = "::1" if "-6" in arguments else "127.0.0.1", 8000
    if where := next((match for word in arguments if (match := ADDRESS.fullmatch(word))), None):
        host, port = address(where["host"] or host), int(where["port"])
    scheme = "https" if name == "runsslserver" else "http"
    # The reloader and the server are two processes; TERM has to reach both, so it goes to the group.
    kind = web(f"django {name}", host, port, own_reloader="--noreload" not in arguments, scheme=scheme)
    if scheme == "https":
        return Kind(
            kind.name, kind.role, ProbeSpec("tcp", {"host": host, "port": port}), watch=kind.watch, url=kind.url
        )
    return kind
