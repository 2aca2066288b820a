"""Redis and what is compatible with it: how a server is recognised in a Procfile, and how one of ours is configured.

Rule 1: a configuration goes in through stdin (in WSL through a file of its owner), so that no password stands in an argv.
Rule 2: a server of ours listens on loopback (or on a socket) alone and writes nothing outside its directory.
Rule 3: a line that does not say where its data goes writes no dump.rdb into the project.
"""

from __future__ import annotations

import itertools
import ntpath
import posixpath
import re
from collections.abc import Iterable
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Final

from devstack.core.model import ProbeSpec
from devstack.core.record import Record
from devstack.core.redis_url import RedisUrl
from devstack.kinds import Context, Kind

SERVERS: Final = ("redis-server", "valkey-server", "keydb-server", "memurai")
"""Names of programs, the best known first."""
_ALSO: Final = ("redis-stack-server", "dragonfly")
# Patterns are compiled by whoever needs them, not at each start.
_IMAGES: Final = r"(?:.*/)?(?:redis|valkey|redis-stack|redis-stack-server|keydb|dragonfly)(?:[:@].*)?"
_SAYS_WHERE: Final = {"", "dir", "save", "dbfilename", "appendonly", "include"}
"""Options of those who have thought of their data; "" is a conf file."""
_IN_URL: Final = ("port", "unixsocket", "requirepass")
_SWITCHES: Final = r"-[dit]+|--(?:rm|init|detach|interactive|tty|privileged|read-only)"
EVERY: Final = 5.0
"""Seconds between two questions to a Redis that is ready."""


def recognise(argv: list[str], context: Context) -> Kind | None:
    """A server on the command line, or `docker run … redis`. Its conf file is not read here: then the probe asks the port it opens."""
    url = _of_container(argv) if _name(argv) in ("docker", "podman", "nerdctl") else _of_server(argv)
    if url is None:
        return None
    return Kind(
        name="redis",
        role="redis",
        after=(),
        probe=ProbeSpec("redis", {"url": url}, every=EVERY),
        grace=10.0,
        notes=(_kept(context),) if _is_homeless(argv) else (),
        arguments=_with_directory,
    )


def directory_of(state_dir: str, process: str, system: str) -> str:
    """Where a server of the Procfile keeps its data when its line does not say; whoever starts it makes the directory."""
    join = ntpath.join if system == "win32" else posixpath.join
    return join(state_dir, "redis", process)


def _is_homeless(argv: list[str]) -> bool:
    """Whether a server would save into its working directory without anybody having said so."""
    return _name(argv) in SERVERS and not _SAYS_WHERE & set(_options(argv[1:]))


def _with_directory(argv: list[str], context: Context) -> list[str]:
    if not _is_homeless(argv):
        return argv
    return [*argv, "--dir", directory_of(context.state_dir, context.process, context.system)]


def _kept(context: Context) -> str:
    place = directory_of(context.state_dir, context.process, context.system)
    return f"its dump.rdb goes to {place}, not into the project; with `--dir .` in the line it stays there"


def _name(argv: list[str]) -> str:
    if not argv:
        return ""
    path: PurePath = PureWindowsPath(argv[0]) if "\\" in argv[0] else PurePosixPath(argv[0])
    return path.name.lower().removesuffix(".exe")


def _of_server(argv: list[str]) -> str | None:
    """The URL at which the server will answer; "" when a conf file decides; None for another program."""
    if _name(argv) not in (*SERVERS, *_ALSO):
        return None
    options = _options(argv[1:])
    password = options.get("requirepass") or None
    if options.get("port") == "0" and (path := options.get("unixsocket")):
        return f"unix://{path}"
    port = options.get("port", "")
    if not port.isdigit() or not 0 < int(port) < 65536:
        if "" in options:
            return ""
        port = "6379"
    return RedisUrl(password=password).at_port(int(port))


def url_of_conf(text: str) -> str:
    """The URL of a server with this conf file."""
    words = (line.split(None, 1) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    pairs = [(pair[0].lower(), pair[1].strip().strip("\"'")) for pair in words if len(pair) == 2]
    flat = [part for name, value in pairs if name in _IN_URL for part in (f"--{name}", value)]
    return _of_server([SERVERS[0], *flat]) or ""


def _options(words: list[str]) -> dict[str, str]:
    """`--name value …` pairs as Redis reads them; a conf file, which comes first, is under ""."""
    options: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, mark, value = word[2:].partition("=")
            options[name] = [value] if mark else []
        else:
            options.setdefault(name, []).append(word)
    return {name: " ".join(values) for name, values in options.items()}


def _of_container(argv: list[str]) -> str | None:
    """`docker run [-p 6380:6379] redis:7`: the URL by its published port."""
    if "run" not in argv[1:3]:
        return None
    # What follows an option is its value, unless the option takes none: `--name redis postgres` is no Redis.
    pairs = itertools.pairwise(argv[argv.index("run") :])
    if not any(re.fullmatch(_IMAGES, word) for before, word in pairs if not _takes_value(before)):
        return None
    for word, after in zip(argv, [*argv[1:], ""], strict=True):
        name, mark, value = word.partition("=")
        if name in ("-p", "--publish") or word.startswith("-p"):
            published = value if mark else after if word in ("-p", "--publish") else word[2:]
            *_, outer, inner = ["", *published.split(":")]
            if inner.removesuffix("/tcp") == "6379" and outer.isdigit():
                return RedisUrl().at_port(int(outer))
    return RedisUrl().at_port(6379)


def _takes_value(word: str) -> bool:
    return word.startswith("-") and "=" not in word and not re.fullmatch(_SWITCHES, word)


class Version(Record):
    flavour: str
    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.flavour} {'.'.join(map(str, self.numbers))}"

    @property
    def directory(self) -> str:
        """A directory per kind and major.minor: an older server dies of a newer one's dump, and of another kind's."""
        return f"{self.flavour}-{'.'.join(map(str, self.numbers[:2]))}"


def version(text: str) -> Version | None:
    """From the output of `--version`: "Redis server v=7.0.15 sha=…", "Valkey server v=9.1.2 …"."""
    match = re.search(r"\bv=?(\d+(?:\.\d+)+)", text) or re.search(r"\b(\d+\.\d+(?:\.\d+)*)\b", text)
    if match is None:
        return None
    flavour = next((name for name in ("valkey", "keydb", "memurai", "redis") if name in text.lower()), "redis")
    return Version(flavour, tuple(int(part) for part in match[1].split(".")))


def configuration(url: RedisUrl, directory: PurePath, *, persist: bool, container: bool = False) -> bytes:
    """What a server of ours reads first, for clients that come by `url`.

    In a container it listens at the usual port of all addresses there: which of this machine leads to it is for who publishes it.
    """
    listens = (url.port, url.addresses[0]) if not container else (6379, "0.0.0.0")
    lines: list[tuple[str, ...]] = [
        *(
            [("port", "0"), ("unixsocket", url.path), ("unixsocketperm", "700")]
            if url.path
            else [("port", f"{listens[0]}"), ("bind", listens[1])]
        ),
        ("protected-mode", "no" if container else "yes"),
        ("daemonize", "no"),
        # A title would be written over its environment, and with it the marker by which a leftover is known.
        ("set-proc-title", "no"),
        ("dir", str(directory)),
        # Another file without persistence: a dump of an earlier run must not bring old tasks back.
        ("dbfilename", "dump.rdb" if persist else "unsaved.rdb"),
        ("save", "300", "1") if persist else ("save", ""),
        # A full disk must not stop development with MISCONF.
        ("stop-writes-on-bgsave-error", "no"),
        ("appendonly", "no"),
        ("maxmemory-policy", "noeviction"),
        ("databases", f"{max(16, url.db + 1)}"),
        ("loglevel", "notice"),
        *_login(url),
    ]
    return "".join(f"{' '.join((line[0], *map(_quoted, line[1:])))}\n" for line in lines).encode()


def _login(url: RedisUrl) -> Iterable[tuple[str, ...]]:
    if url.password:
        yield ("requirepass", url.password)
    if url.username and url.username != "default":
        # The hash, since an ACL rule cannot hold every character of a password.
        import hashlib

        secret = "#" + hashlib.sha256(url.password.encode()).hexdigest() if url.password else "nopass"
        yield ("user", url.username, "on", secret, "~*", "&*", "+@all")


def _quoted(word: str) -> str:
    """As sdssplitargs reads it."""
    if re.fullmatch(r"[\w.:/*&+@~#-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"' + "".join(f"\\x{ord(each):02x}" if ord(each) < 32 or ord(each) == 127 else each for each in escaped) + '"'
    )
