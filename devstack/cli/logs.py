"""`devstack logs`: what the processes have said, from their log files; of a running stack also what they say next.

Rule 1: an entry that does not match is left out whole, one that does is shown whole: a traceback is never cut.
Rule 2: a reader that is slow reads later; it holds up nobody.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import click

from devstack.cli import colour
from devstack.cli.live import Place, directory_option
from devstack.cli.names import offered
from devstack.control import client, logbook
from devstack.control.logbook import Entry, Log
from devstack.core.names import listing
from devstack.errors import DevstackError, did_you_mean

LAST = 100
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
LOOK = 0.5
"""Seconds after which it looks by itself: the end of a traceback may not have come."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME…]", shell_complete=offered)
@directory_option
@click.option(
    "-F", "-f", "--follow", is_flag=True, help="Stay, and show what comes, until Ctrl-C or the end of the stack."
)
@click.option("-n", "--lines", metavar="N", default=None, help=f"So many of the last lines; all. [default: {LAST}]")
@click.option("--since", metavar="TIME", help="Not what is older: 30s, 5m, 2h, 1d, 14:30 or 2026-11-21 14:30.")
@click.option("--grep", metavar="REGEX", help="Only what matches; a traceback as a whole.")
@click.option("--level", type=click.Choice([*LEVELS]), help="Only what says that it is as bad as that, or worse.")
@click.option("--task", metavar="ID", help="Only what names this task, from the enqueue to its result.")
@click.option("--json", "as_json", is_flag=True, envvar="DEVSTACK_JSON", help="Each line as a JSON object.")
@click.option("--no-prefix", is_flag=True, help="Without time and name.")
def logs(
    names: tuple[str, ...],
    directory: str | None,
    follow: bool,
    lines: str | None,
    since: str | None,
    grep: str | None,
    level: str | None,
    task: str | None,
    as_json: bool,
    no_prefix: bool,
) -> None:
    """Show what the processes have said: NAME is `web.1`, `worker` (all of them), `work*`, or `devstack` for devstack's own words."""
    place = Place(None, directory)
    narrowed = bool(since or grep or level or task)
    moment = _moment(since) if since else 0.0
    if follow and lines == "0":
        lines, moment = "all", time.time()
    count = _count(lines, 0 if narrowed else LAST)
    wanted = _wanted(moment, _regex(grep), LEVELS[level] if level else 0, task)
    show(place, names, follow, count, moment, wanted, _printer(as_json, not no_prefix))


def follow(place: Place, names: tuple[str, ...]) -> None:
    """The last lines and what comes."""
    show(place, names, True, LAST, 0.0, lambda entry: True, _printer(False, True))


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise DevstackError(f"cannot read {error.filename}: {error.strerror}") from error


@_readable()
def show(
    place: Place,
    names: tuple[str, ...],
    follow: bool,
    count: int,
    since: float,
    wanted: Callable[[Entry], bool],
    write: Callable[[Iterable[Entry]], None],
) -> None:
    """`count` 0 is everything."""
    line = None
    if follow:
        with place.explained(), contextlib.suppress(client.NotRunning):
            # From here on it tells when there is more.
            line = client.begin(place.runtime, "follow")
    books = {name: Log(place.logs, name) for name in _chosen(logbook.names(place.logs), names)}
    known = _known(place) if line else []
    if names and not books and not _chosen(known, names):
        raise _unknown(names[0], [*logbook.names(place.logs), *known])
    if line is None and not books:
        click.echo("nothing has run here yet: devstack up", err=True)
    elif line is None and follow:
        click.echo("nothing runs here: this is what the last stack has said", err=True)
    if count and not since:
        found = [each for each in logbook.merged(book.tail(count) for book in books.values()) if wanted(each)]
        write(_last(found, count))
    else:
        each = (entry for entry in logbook.merged(book.history(since) for book in books.values()) if wanted(entry))
        write(_last(list(each), count) if count else each)
    if line is not None:
        with line:
            _follow(line, place, names, books, wanted, write)


def _follow(
    line: socket.socket,
    place: Place,
    names: tuple[str, ...],
    books: dict[str, Log],
    wanted: Callable[[Entry], bool],
    write: Callable[[Iterable[Entry]], None],
) -> None:
    def news() -> None:
        for name in _chosen(logbook.names(place.logs), names):
            books.setdefault(name, Log(place.logs, name))
        write(each for each in logbook.merged([*book.news()] for book in books.values()) if wanted(each))
        if late := [name for name, book in books.items() if book.overtaken]:
            click.echo(
                f"lines of {listing(late)} may be missing here: a file was thrown away before it was read", err=True
            )

    line.settimeout(LOOK)
    while True:
        try:
            said = line.recv(65536)
        except TimeoutError:
            said = b"\n"
        except ConnectionError:
            said = b""
        news()
        if not said or b'"end"' in said:
            break
    time.sleep(LOOK)  # what was said last is just being written
    news()
    click.echo("the stack has ended", err=True)


def _known(place: Place) -> list[str]:
    try:
        found = place.one("names")["processes"]
    except DevstackError:
        return []  # it still looks for Redis
    assert isinstance(found, list)
    return found


def _unknown(name: str, known: list[str]) -> DevstackError:
    services = list(dict.fromkeys(each.rpartition(".")[0] or each for each in known))
    fix = did_you_mean(name, [*services, *known]) or (f"there are: {listing(services)}" if services else "")
    return DevstackError(f'there is no log of "{name}"', fix=fix or "nothing has run here yet: devstack up")


def _chosen(there: list[str], names: tuple[str, ...]) -> list[str]:
    def meant(each: str) -> bool:
        service = each.rpartition(".")[0]
        return any(fnmatch.fnmatchcase(each, name) or fnmatch.fnmatchcase(service, name) for name in names)

    return [each for each in there if not names or meant(each)]


def _last(entries: list[Entry], count: int) -> list[Entry]:
    """The last ones with at least `count` lines together."""
    kept = 0
    for number in range(len(entries) - 1, -1, -1):
        kept += len(entries[number].lines)
        if kept >= count:
            return entries[number:]
    return entries


def _wanted(since: float, grep: re.Pattern[bytes] | None, level: int, task: str | None) -> Callable[[Entry], bool]:
    start = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since)).encode() if since else b""
    ident = task.encode() if task else b""

    def wanted(entry: Entry) -> bool:
        return (
            entry.stamp >= start
            and (not level or entry.level >= level)
            and (not ident or any(ident in line for line in entry.lines))
            and (grep is None or any(grep.search(line) for line in entry.lines))
        )

    return wanted


def _printer(as_json: bool, prefix: bool) -> Callable[[Iterable[Entry]], None]:
    out = sys.stdout.buffer
    coloured = not as_json and colour.wanted()
    palette: dict[str, str] = {}
    width = 8

    def label(name: str) -> bytes:
        nonlocal width
        width = max(width, len(name))
        text = f"{name:<{width}} | "
        if not coloured:
            return text.encode()
        from devstack.runtime.output import COLOURS

        shade = palette.setdefault(name.rpartition(".")[0], COLOURS[len(palette) % len(COLOURS)])
        return f"\x1b[{shade}m{text}\x1b[0m".encode()

    def write(entries: Iterable[Entry]) -> None:
        for entry in entries:
            if as_json:
                texts = (line.decode(errors="replace").removesuffix("\r") for line in entry.lines)
                rows = ({"time": round(entry.time, 3), "process": entry.name, "text": text} for text in texts)
                out.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(errors="replace"))
                continue
            start = entry.stamp[11:19] + b" " + label(entry.name) if prefix else b""
            out.write(b"".join(start + line + b"\n" for line in entry.lines))
        out.flush()

    return write


def _count(text: str | None, default: int) -> int:
    if text is None:
        return default
    if text == "all":
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
        raise DevstackError(f'"{text}" is no number of lines', fix="-n 50, or -n all", where="--lines")
    return int(text)


def _regex(text: str | None) -> re.Pattern[bytes] | None:
    try:
        return re.compile(text.encode()) if text else None
    except (re.error, OverflowError, RecursionError) as error:
        raise DevstackError(f'"{text}" is no regular expression', why=str(error), where="--grep") from None


def _moment(text: str) -> float:
    if match := re.fullmatch(r"([0-9]{1,9})([smhd]?)", text):
        return max(1.0, time.time() - int(match[1]) * UNITS[match[2]])
    today = time.strftime("%Y-%m-%d ")
    for candidate, form in ((today + text, "%Y-%m-%d %H:%M"), (today + text, "%Y-%m-%d %H:%M:%S")):
        try:
            return time.mktime(time.strptime(candidate, form))
        except (ValueError, OverflowError):
            continue
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"):
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    fix = "30s, 5m, 2h, 1d, 14:30 or 2026-11-21 14:30"
    raise DevstackError(f'"{text}" is no time', fix=fix, where="--since")
