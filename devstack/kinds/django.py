"""manage.py and django-admin: the development server, and the commands that run and end.

runserver leaves on the INT that Ctrl-C sends to all its processes: then atexit functions run and it exits 0. On a TERM its reloader kills
the process that serves (measured with Django 5.2), and without a reloader there is nothing that handles it.

devstack runs it with --noreload and reloads it itself. RUN_MAIN is what Django's reloader sets for the process that serves: projects ask
for it before they start what must run once. runserver_plus keeps its reloader: without one it ends with a KeyError (django-extensions 4.1
with Werkzeug 3.1).
"""

from __future__ import annotations

import re

from devstack.kinds import Context, Kind
from devstack.kinds.arguments import option, program
from devstack.kinds.web import Address, at, server

PROGRAMS = {"manage.py", "manage", "django-admin", "django-admin.py", "django"}
SERVERS = {"runserver", "runserver_plus"}
ONE_SHOTS = frozenset(
    """
    check clearsessions collectstatic compilemessages compress createcachetable createsuperuser dumpdata flush
    loaddata makemessages makemigrations migrate migrate_schemas optimizemigration showmigrations sqlmigrate
    sync_translation_fields test
    """.split()
)
"""Of Django itself and of widespread apps. A command that is not known may run for ever, so nothing waits for it to end."""

# Compiled by whoever needs it, not at each start.
_ADDRESS = r"(?:(?P<host>\d{1,3}(?:\.\d{1,3}){3}|\[[a-fA-F0-9:]+\]|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*):)?(?P<port>\d+)"
"""As in django.core.management.commands.runserver."""
_NUMBERS = {"-v", "--verbosity", "--reloader-interval", "--truncate-sql", "--threads"}
"""Options whose value could be taken for a port."""


def recognise(argv: list[str], context: Context) -> Kind | None:
    name, words = program(argv)
    if name not in PROGRAMS or not words:
        return None
    command, rest = words[0], words[1:]
    if command in SERVERS:
        return _server(command, rest, context)
    if command in ONE_SHOTS:
        return Kind(name=f"django {command}", role="oneshot", after=("redis",), ready_within=None, oneshot=True)
    # django-tailwind hands its standard input on to a watcher that ends with it.
    return Kind(name="django command", open_stdin=command == "tailwind")


def _server(command: str, words: list[str], context: Context) -> Kind:
    reloads = "--noreload" not in words
    ours = reloads and command == "runserver"
    return server(
        f"django {command}",
        _address(words),
        context,
        tls=option(words, "--cert", "--cert-file") is not None,
        reloads=reloads,
        without=(lambda argv: [*argv, "--noreload"]) if ours else None,
        env={"RUN_MAIN": "true"} if ours and not context.own_reload else {},
        stop_signal="INT",
    )


def _address(words: list[str]) -> Address:
    host = "::1" if {"-6", "--ipv6"}.intersection(words) else "127.0.0.1"
    for before, word in zip(["", *words], words, strict=False):
        if before not in _NUMBERS and (match := re.fullmatch(_ADDRESS, word)):
            return at(match["host"] or host, match["port"])
    return at(host, "8000")
