"""Redis' protocol (RESP2), as much as asking a server how it is needs.

Not redis-py: its import takes 115 ms on our critical path, it wraps what the server said in exceptions that differ between its versions,
and it cannot tell a program that is no Redis from one that hung up. RESP2, since servers before 6.0 know no HELLO.

Rule 1: everything on a Wire happens before one deadline; a late answer is TimeoutError.
Rule 2: what the server refuses is a value (Refusal); what is not Redis at all is NotRedis.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

from devstack.core.redis_url import RedisUrl

_LONGEST: Final = 1 << 20
"""A line or a string longer than this is not an answer to anything we ask."""


class NotRedis(Exception):
    """What answers does not speak RESP. `said` is the beginning of its answer; empty when it hung up without one."""

    def __init__(self, said: str = "") -> None:
        super().__init__(said)
        self.said = said


class Refusal(str):
    """An error reply, without the minus: "NOAUTH Authentication required."."""

    @property
    def word(self) -> str:
        return self.split(" ", 1)[0]


Reply = str | int | None | list["Reply"]
"""A Refusal is a str."""


class Wire:
    """A connection to a server; a context manager. Opening it raises OSError (TimeoutError among them)."""

    def __init__(self, url: RedisUrl, within: float) -> None:
        self._deadline = time.monotonic() + within
        self._socket = _open(url, within)
        self._got = b""
        if url.tls:
            try:
                self._socket = _with_tls(self._socket, url)
            except BaseException:
                self._socket.close()
                raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *words: str) -> Reply:
        """Send one command and return its reply."""
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word.encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
        self._socket.settimeout(self._left())
        # The peer may have said why and hung up already ("max number of clients reached"): read that first.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(b"".join(parts))
        return self._reply()

    def _reply(self) -> Reply:
        line = self._line()
        mark, rest = line[:1], line[1:].decode("utf-8", "replace")
        if mark == b"+":
            return rest
        if mark == b"-":
            return Refusal(rest)
        try:
            number = int(rest) if mark in (b":", b"$", b"*") and mark else None
        except ValueError:
            number = None
        if number is None or number > _LONGEST:
            raise NotRedis(line[:40].decode("ascii", "replace").strip() or "an empty line")
        if mark == b":":
            return number
        if number < 0:
            return None
        return [self._reply() for _ in range(number)] if mark == b"*" else self._string(number)

    def _string(self, size: int) -> str:
        while len(self._got) < size + 2:
            self._more()
        data, self._got = self._got[:size], self._got[size + 2 :]
        return data.decode("utf-8", "replace")

    def _line(self) -> bytes:
        while b"\n" not in self._got:
            # An SSH or MySQL banner need not have a line end: the first byte tells.
            if (self._got and self._got[:1] not in b"+-:$*") or len(self._got) > _LONGEST:
                raise NotRedis(self._got[:40].decode("ascii", "replace").strip())
            self._more()
        line, _, self._got = self._got.partition(b"\n")
        return line.rstrip(b"\r")

    def _more(self) -> None:
        self._socket.settimeout(self._left())
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise NotRedis(self._got[:40].decode("ascii", "replace").strip())
        self._got += data

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def speaks_tls(url: RedisUrl, within: float) -> bool:
    """Whether TLS is spoken there (no certificate is checked, and nothing is sent)."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _open(url, within) as plain, context.wrap_socket(plain, server_hostname=url.host):
            return True
    except OSError:
        return False


def _open(url: RedisUrl, within: float) -> socket.socket:
    if url.path:
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise OSError("this system has no Unix sockets")
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(within)
            plain.connect(url.path)
        except BaseException:
            plain.close()
            raise
        return plain
    for address in url.addresses[:-1]:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((address, url.port), within)
    return socket.create_connection((url.addresses[-1], url.port), within)


def _with_tls(plain: socket.socket, url: RedisUrl) -> socket.socket:
    """As redis-py does it: certificates are checked unless ssl_cert_reqs in the URL says otherwise."""
    import ssl

    context = ssl.create_default_context(cafile=url.options.get("ssl_ca_certs") or None)
    if url.options.get("ssl_cert_reqs", "").lower().removeprefix("cert_") in ("none", "optional"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif url.options.get("ssl_check_hostname", "").lower() == "false":
        context.check_hostname = False
    if certificate := url.options.get("ssl_certfile"):
        context.load_cert_chain(certificate, url.options.get("ssl_keyfile"))
    return context.wrap_socket(plain, server_hostname=url.host)
