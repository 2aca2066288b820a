"""Celery on the command line: worker, beat, Flower, and the commands that run and end.

Recognised as `celery …`, `python -m celery …`, `manage.py celery …`, `flower …`, behind `docker run …` and tracers too; options in any
order, those of `celery` before or after the command.

Rule 1: what the user names is left alone; what is added is a node name, a schedule file outside the project, a local address, and on
        Windows a pool that works there.
Rule 2: what puts itself into the background is refused: nobody could watch or stop it.
"""

from __future__ import annotations

import ntpath
import posixpath
from collections.abc import Sequence
from functools import partial

from devstack.core.model import ProbeSpec
from devstack.errors import DevstackError
from devstack.kinds import Context, Kind
from devstack.kinds.arguments import base_name, is_python, option

GRACE = 30.0
"""A warm shutdown finishes the running tasks; an idle prefork worker alone takes 2.7 s. 30 s is what Heroku and Kubernetes give."""

WITH_VALUE = {"-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"}
"""The options of `celery` itself that take a word (celery/bin/celery.py); its others are flags."""
BEFORE_WORKERS = {"purge", "upgrade", "migrate"}
AFTER_WORKERS = {"inspect", "control", "status", "call", "result", "report", "list", "graph", "logtool", "amqp"}
WITH_WORKERS = {"events", "shell"}
COMMANDS = {"worker", "beat", "flower", "multi"} | BEFORE_WORKERS | AFTER_WORKERS | WITH_WORKERS

CONTAINERS = {"docker", "docker-compose", "podman", "podman-compose", "nerdctl", "ssh"}
TRACERS = {
    "ddtrace-run",
    "newrelic-admin",
    "opentelemetry-instrument",
    "sentry-run",
    "coverage",
    "memray",
    "scalene",
    "pyinstrument",
}
WRAPPERS = {"nohup", "timeout", "setsid", "stdbuf", "ionice", "chrt", "taskset", "gosu", "su-exec", "sudo"}


def recognise(argv: list[str], context: Context) -> Kind | None:
    at = program_at(argv)
    if at is None:
        return None
    if base_name(argv[at]) == "flower":
        return _flower(argv, at + 1, context)
    command_at = _command_at(argv, at + 1)
    command = _command(argv, at + 1)
    if command not in COMMANDS:
        return None
    if command == "multi":
        raise DevstackError(
            "`celery multi` starts workers in the background, where devstack can neither watch nor stop them",
            fix="write one line for each worker: `worker: celery -A APP worker`",
        )
    detaches = command in ("worker", "beat") and {"--detach", "-D" if command == "worker" else "--detach"} & set(
        argv[command_at:]
    )
    if detaches:
        raise DevstackError(
            f"`celery {command} {min(detaches)}` goes into the background, where devstack can neither watch nor stop it",
            fix=f"remove {min(detaches)}",
        )
    if command == "worker":
        return _worker(argv, at, context)
    if command == "beat":
        return _beat(argv, at, context)
    if command == "flower":
        return _flower(argv, command_at + 1, context)
    if command in WITH_WORKERS:
        return Kind(name=f"celery {command}")
    if command in BEFORE_WORKERS:
        return Kind(name=f"celery {command}", role="oneshot", after=("redis",), oneshot=True)
    # They ask workers, so they cannot be what workers wait for.
    return Kind(name=f"celery {command}", after=("redis", "oneshot", "worker"), oneshot=True)


# Reading the words


def program_at(argv: Sequence[str]) -> int | None:
    """Index of the word that is Celery or Flower, or None: `celery`, the `celery` of `-m celery`, that of `manage.py celery`."""
    first = base_name(argv[0]) if argv else ""
    if first in ("celery", "flower"):
        return 0
    if is_python(first) or first in ("manage.py", "django-admin"):
        return _in_python(argv, 0)
    if first in CONTAINERS | TRACERS | WRAPPERS:
        for at, word in enumerate(argv[1:], 1):
            name = base_name(word)
            if name == "flower" or (name == "celery" and _command(argv, at + 1) in COMMANDS):
                return at  # Not the Compose service of that name in `docker compose run celery …`.
            if is_python(name) or name == "manage.py":
                return _in_python(argv, at)
    return None


def _in_python(argv: Sequence[str], at: int) -> int | None:
    words = [base_name(word) for word in argv]
    for i in range(at, len(words) - 1):
        if argv[i] == "-m" and words[i + 1] in ("celery", "flower"):
            return i + 1
        if words[i] in ("manage.py", "django-admin"):
            return i + 1 if words[i + 1] == "celery" else None
        if i > at and not argv[i].startswith("-") and argv[i - 1] not in ("-X", "-W"):
            return i if words[i] in ("celery", "flower") else None  # python /path/celery …
        if argv[i] == "-m":
            return None
    return None


def _command_at(argv: Sequence[str], start: int) -> int:
    """Index of the command of celery: the first word that is neither option nor the value of one."""
    at = start
    while at < len(argv) and argv[at].startswith("-"):
        word = argv[at]
        long = word.startswith("--")
        takes_next = word in WITH_VALUE or (
            not long and len(word) > 2 and word[-1] in "Ab" and set(word[1:-1]) <= set("Cq")
        )
        at += 2 if takes_next else 1
    return at


def _command(argv: Sequence[str], start: int) -> str:
    return argv[at] if (at := _command_at(argv, start)) < len(argv) else ""


def app_options(argv: Sequence[str]) -> list[str]:
    """The words that tell `inside/ask.py` which app a line is about: -A, -b, --config and the like."""
    at = program_at(argv)
    words: list[str] = []
    if at is not None:
        for names in (
            ("-A", "--app"),
            ("-b", "--broker"),
            ("--result-backend",),
            ("--loader",),
            ("--config",),
            ("--workdir",),
        ):
            if (value := option(argv[at:], *names)) is not None:
                words += [names[-1], value]
    return words


def _elsewhere(argv: Sequence[str]) -> bool:
    """Whether it runs where our paths and addresses mean nothing."""
    return base_name(argv[0]) in CONTAINERS


# Worker


def _worker(argv: list[str], at: int, context: Context) -> Kind:
    words = argv[at:]
    pool = option(words, "-P", "--pool") or context.env.get("CELERY_WORKER_POOL")
    notes: list[str] = []
    env: dict[str, str] = {}
    if context.system == "win32" and not _elsewhere(argv):
        if pool is None:
            notes.append(
                "--pool=solo was added: Celery's prefork pool does not work on Windows; --pool=threads runs several tasks at once"
            )
        elif pool in ("prefork", "processes"):
            notes.append(
                f"--pool={pool} does not work on Windows: use --pool=solo, or --pool=threads to run several tasks at once"
            )
        if _embeds_beat(words):
            notes.append("Celery refuses -B on Windows: give beat a line of its own, `beat: celery -A APP beat`")
    elif context.system == "darwin" and pool in (None, "prefork", "processes"):
        env["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = (
            "YES"  # It must be there at exec; else forks of Apple's frameworks are killed.
        )
    if _embeds_beat(words) and context.instance > 1:
        notes.append("-B is kept for the first instance only: each beat more would send every periodic task once more")
    named = option(words, "-n", "--hostname")
    if named is not None and _unique(named, context) != named:
        notes.append(
            f"-n {named} is one name for several workers: instance {context.instance} runs as {_unique(named, context)}"
        )
    if remapped := context.env.get("REMAP_SIGTERM"):
        notes.append(
            f"REMAP_SIGTERM={remapped} makes a stop a cold one: running tasks are not finished; unset it here to keep them"
        )
    return Kind(
        name="celery worker",
        role="worker",
        probe=ProbeSpec("celery", every=5.0),
        grace=GRACE,
        signal_group=False,  # The main process finishes the tasks of its pool; a signal to the pool would end them.
        watch=True,
        reload="beside",
        channel=True,
        env=env,
        notes=tuple(notes),
        arguments=partial(_worker_arguments, at),
    )


def _worker_arguments(at: int, argv: list[str], context: Context) -> list[str]:
    before, words = argv[:at], argv[at:]
    named = option(words, "-n", "--hostname")
    if named is not None:
        words = _replaced(words, named, _unique(named, context), "-n", "--hostname")
    elif not context.env.get("CELERY_WORKER_HOSTNAME"):
        # In a container %h would be a name that nobody out here knows.
        words = [*words, "-n", f"{context.process}@{'container' if _elsewhere(argv) else '%h'}"]
    if _embeds_beat(words):
        if context.instance > 1:
            words = [word for word in words if word not in ("-B", "--beat")]
        elif option(words, "-s", "--schedule", "--schedule-filename") is None and not _elsewhere(argv):
            words = [*words, "-s", _schedule_file(context)]
    pool = option(words, "-P", "--pool") or context.env.get("CELERY_WORKER_POOL")
    if context.system == "win32" and pool is None and not _elsewhere(argv):
        words = [*words, "--pool=solo"]
    return before + words


def _embeds_beat(words: Sequence[str]) -> bool:
    return "-B" in words or "--beat" in words


def _unique(named: str, context: Context) -> str:
    """`w@%h` → `w.2@%h` for the second instance; a name that already holds the instance's own (through $PS, say) stays."""
    if context.instance == 1 or context.process in named:
        return named
    name, at, host = named.partition("@")
    return f"{name}.{context.instance}{at}{host}"


def _replaced(words: list[str], old: str, new: str, *names: str) -> list[str]:
    """`words` with the value of an option changed, in whatever spelling it stands there."""
    result = list(words)
    for at, word in enumerate(words):
        if at and words[at - 1] in names and word == old:
            result[at] = new
        elif any(word in (f"{name}{old}", f"{name}={old}") for name in names):
            result[at] = word[: len(word) - len(old)] + new
    return result


# Beat


def _beat(argv: list[str], at: int, context: Context) -> Kind:
    return Kind(
        name="celery beat",
        role="beat",
        probe=ProbeSpec("beat", every=5.0),
        after=("redis", "oneshot", "worker"),
        signal_group=False,
        watch=True,
        channel=True,
        single=True,
        arguments=partial(_beat_arguments, at),
    )


def _beat_arguments(at: int, argv: list[str], context: Context) -> list[str]:
    """No pid file and no schedule file in the project: one that was left behind or committed keeps beat from starting."""
    words = argv[at:]
    if option(words, "--pidfile") is None:
        argv = [*argv, "--pidfile="]
    scheduler = option(words, "-S", "--scheduler") or ""
    own_file = scheduler in ("", "persistent") or scheduler.endswith("PersistentScheduler")
    if own_file and option(words, "-s", "--schedule") is None and not _elsewhere(argv):
        # A scheduler that the settings name, such as DatabaseScheduler, takes the file name and ignores it.
        argv = [*argv, "-s", _schedule_file(context)]
    return argv


def _schedule_file(context: Context) -> str:
    join = ntpath.join if context.system == "win32" else posixpath.join
    return join(context.state_dir, f"celerybeat-schedule-{context.process}")


# Flower


def _flower(argv: list[str], options_at: int, context: Context) -> Kind:
    words = argv[options_at:]

    def setting(name: str, default: str = "") -> str:
        said = option(words, f"--{name}", f"--{name.replace('_', '-')}")
        return said if said is not None else context.env.get(f"FLOWER_{name.upper()}", default)

    address = setting("address", "127.0.0.1")
    host = "127.0.0.1" if address in ("", "0.0.0.0", "localhost") else address
    port = setting("port", "5555")
    prefix = setting("url_prefix").strip("/")
    path = f"/{prefix}/healthcheck" if prefix else "/healthcheck"
    tls = bool(setting("certfile"))
    url = f"{'https' if tls else 'http'}://{host}:{port}" + (f"/{prefix}" if prefix else "")
    if unix := setting("unix_socket"):
        probe, url = ProbeSpec("tcp", {"path": unix}, every=10.0), ""
    elif not port.isdigit():
        probe, url = ProbeSpec(), ""
    elif tls:
        probe = ProbeSpec("tcp", {"host": host, "port": int(port)}, every=10.0)
    else:
        probe = ProbeSpec("http", {"host": host, "port": int(port), "path": path, "status": 200}, every=10.0)
    named = setting("address") or unix or _elsewhere(argv)
    return Kind(
        name="flower",
        role="flower",
        probe=probe,
        after=("redis", "oneshot", "worker"),
        url=url,
        arguments=(lambda argv, context: argv) if named else (lambda argv, context: [*argv, "--address=127.0.0.1"]),
    )
