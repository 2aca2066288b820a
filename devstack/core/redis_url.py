"""The address of a Redis, as redis-py and kombu write it.

Each library knows only its own spelling of a Unix socket: redis-py `unix:///p?db=N`, kombu `redis+socket:///p?virtual_host=N`. We read
both. `valkey://` is not a Celery transport and is no Redis URL here either.

Rule 1: `place` names the server in sentences and never holds a password.
Rule 2: garbage is a ValueError that says what is wrong and does not quote the URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from devstack.core.record import Record

DEFAULT: Final = "redis://127.0.0.1:6379/0"
_TCP = ("redis", "rediss")
_SOCKET = ("unix", "redis+socket", "rediss+socket", "socket")


class RedisUrl(Record):
    """`path` is set for a Unix socket, and then `host` and `port` mean nothing. `password` is None when the URL has none."""

    host: str = "127.0.0.1"
    port: int = 6379
    db: int = 0
    username: str = ""
    password: str | None = None
    path: str = ""
    tls: bool = False
    options: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"RedisUrl({self.place})"

    @property
    def place(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """What to connect to, in this order: localhost is IPv4 first, where Redis listens by default."""
        if self.host == "localhost":
            return ("127.0.0.1", "::1")
        return ("127.0.0.1",) if self.host == "0.0.0.0" else (self.host,)

    @property
    def local(self) -> bool:
        """Whether the server runs (or would run) on this machine: a loopback address or a socket."""
        if self.path or self.host in ("localhost", "0.0.0.0"):
            return True
        import ipaddress

        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def wants_login(self) -> bool:
        return bool(self.username or self.password)

    @property
    def cli(self) -> str:
        """How to reach it with redis-cli; the password is left to the reader."""
        if self.path:
            return f"redis-cli -s {self.path}"
        host = "" if self.local else f" -h {self.host}"
        return f"redis-cli{host} -p {self.port}{' --tls' if self.tls else ''}"

    def at_port(self, port: int) -> str:
        """The same database and login at another port of 127.0.0.1."""
        login = ""
        if self.wants_login:
            password = "" if self.password is None else f":{quote(self.password, safe='')}"
            login = f"{quote(self.username, safe='')}{password}@"
        return f"redis://{login}127.0.0.1:{port}/{self.db}"


def is_redis(text: str) -> bool:
    """Whether one Redis is meant (sentinel:// is another protocol, and amqp:// another broker)."""
    return _scheme(text) in (*_TCP, *_SOCKET)


def parse(text: str) -> RedisUrl:
    """Read a URL for which `is_redis`. Of a list separated by `;` (Celery's fail-over) the first counts."""
    text = text.split(";")[0].strip()
    scheme = _scheme(text)
    if scheme not in (*_TCP, *_SOCKET):
        raise ValueError("it does not begin with redis://, rediss://, unix:// or redis+socket://")
    # Read with the rules of http, as kombu does: urlsplit treats netloc and query of unknown schemes by other rules.
    try:
        parts = urlsplit("http://" + text.partition("://")[2])
    except ValueError:
        raise ValueError("the host is not readable") from None
    try:
        port = parts.port or 6379
    except ValueError:
        # Not quoted: in redis://user:password, which lacks @host, it is the password.
        raise ValueError("the port is not a number from 1 to 65535 (or @HOST is missing after the password)") from None
    options = dict(parse_qsl(parts.query))
    path = unquote(parts.path) if scheme in _SOCKET else ""
    if scheme in _SOCKET and path in ("", "/"):
        raise ValueError("the path of the socket is missing: write three slashes, as in unix:///run/redis.sock")
    in_path = "" if path else unquote(parts.path).strip("/")
    password = unquote(parts.password) if parts.password else options.get("password")
    return RedisUrl(
        host=unquote(parts.hostname or "") or "127.0.0.1",
        port=port,
        db=_database(options.get("db") or options.get("virtual_host", "").strip("/") or in_path or "0"),
        username=unquote(parts.username or "") or options.get("username", ""),
        password=password,
        path=path,
        tls=scheme == "rediss",
        options=options,
    )


def _scheme(text: str) -> str:
    return text.partition("://")[0].strip().lower() if "://" in text else ""


def _database(text: str) -> int:
    # Nobody has 10,000 databases, and a server of ours would have to allocate them.
    if not (text.isascii() and text.isdigit() and int(text) < 10_000):
        raise ValueError(f'the database must be a number such as 0, not "{text[:20]}"')
    return int(text)
