"""Scripts: EVAL and its like, which Celery, kombu, locks and rate limiters use. The interpreter is Lua 5.1 from `lupa`.

Rule 1: a script sees KEYS, ARGV, redis, cjson, bit and the harmless half of the standard library; never Python, files or the system.
Rule 2: a script ends: after `lua-time-limit` with an error, and when its memory is used up, too.
Rule 3: without `lupa` everything but scripts works.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from devstack.redisd.arguments import integer
from devstack.redisd.client import Client
from devstack.redisd.numbers import double_text
from devstack.redisd.protocol import OK, Failure, NullList, Pairs, Reply, Status
from devstack.redisd.table import command

if TYPE_CHECKING:
    from devstack.redisd.server import Server

MEMORY = 256 * 2**20
MOST = 5000
_NO_SCRIPT = Failure(b"NOSCRIPT No matching script. Please use EVAL.")
_NO_LUPA = Failure(b"ERR this embedded server runs scripts only with lupa: pip install 'devstack[embedded]'")
_JSON_NULL = object()


class Scripts:
    """Scripts by their SHA-1, and the interpreter, made when it is first needed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.texts: dict[bytes, bytes] = {}
        self._compiled: dict[bytes, Any] = {}
        self._lua: Any = None
        self._parts: Any = None
        self._table: Any = None
        self._type_of: Any = None
        self._problem: Any = ()
        self._client: Client | None = None
        self._deadline = 0.0

    def add(self, text: bytes) -> bytes:
        """The script's name. Failure when it is no Lua."""
        name = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        if name not in self._compiled:
            self._start()
            if len(self.texts) >= MOST:
                # Whoever puts values into the text of scripts makes a new one each time; EVALSHA's clients load theirs again.
                self.flush()
                self._start()
            function, problem = self._parts.compile(text, b"@user_script")
            if function is None:
                raise Failure(b"ERR Error compiling script (new function): %b" % problem)
            self._compiled[name] = function
            self.texts[name] = text
        return name

    def flush(self) -> None:
        self.texts.clear()
        self._compiled.clear()
        self._lua = self._parts = None

    def run(self, client: Client, name: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Reply:
        if name not in self._compiled:
            if name not in self.texts:
                raise _NO_SCRIPT
            self.add(self.texts[name])
        lua = self._lua
        database, may_wait = client.db, client.may_wait
        self._client, client.may_wait = client, False
        self._deadline = time.monotonic() + self._server.settings.script_ms / 1000
        try:
            result = self._parts.run(self._compiled[name], lua.table_from(keys), lua.table_from(arguments))
            return self._reply(result, name)
        except (MemoryError, self._problem) as error:
            # The interpreter is of no more use: it has no memory, or its alarm cannot be silenced.
            self._compiled.clear()
            self._lua = self._parts = None
            if isinstance(error, MemoryError):
                raise Failure(b"ERR the script used more than %d MB of memory" % (MEMORY // 2**20)) from None
            raise Failure(
                b"ERR the script ran longer than %d ms (lua-time-limit) and was ended" % self._server.settings.script_ms
            ) from None
        finally:
            self._client, client.may_wait, client.db = None, may_wait, database

    def _start(self) -> None:
        if self._lua is not None:
            return
        try:
            from lupa import lua51
        except ImportError:
            raise _NO_LUPA from None
        self._lua = lua51.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            max_memory=MEMORY,
            # cjson.null and errors are objects of Python, whose attributes would lead anywhere.
            attribute_filter=_no_attribute,
        )
        prelude = resources.files("devstack.redisd").joinpath("prelude.lua").read_bytes()
        self._table, self._type_of, self._problem = self._lua.table_from, lua51.lua_type, lua51.LuaError
        host = {
            b"call": self._call,
            b"sha1hex": lambda text: hashlib.sha1(_bytes(text), usedforsecurity=False).hexdigest().encode(),
            b"log": lambda text: self._server.say(f"script: {_bytes(text).decode('utf-8', 'replace')[:500]}"),
            b"encode": lambda value: json.dumps(self._plain(value), separators=(",", ":")).encode(),
            b"decode": lambda text: self._from_json(json.loads(text)),
            b"is_over": lambda: time.monotonic() > self._deadline,
            b"null": _JSON_NULL,
        }
        self._parts = self._lua.execute(prelude, self._lua.table_from(host))

    def _call(self, *words: Any) -> Any:
        """What redis.call does: nothing is raised through Lua, an error is a table with `err`."""
        client = self._client
        if client is None or not words:
            return self._error(b"ERR Please specify at least one argument for this redis.call call")
        arguments = []
        for each in words:
            if not isinstance(each, bytes | int | float) or isinstance(each, bool):
                return self._error(b"ERR Lua redis lib command arguments must be strings or integers")
            arguments.append(_bytes(each))
        return self._to_lua(self._server.scripted(client, arguments))

    def _error(self, text: bytes) -> Any:
        return self._table({b"err": text})

    def _to_lua(self, reply: Reply) -> Any:
        """As RESP2 has it."""
        if isinstance(reply, Status):
            return self._table({b"ok": bytes(reply)})
        if isinstance(reply, Failure):
            return self._error(reply.text)
        if isinstance(reply, bytes | int):
            return reply
        if isinstance(reply, float):
            return double_text(reply)
        if reply is None or isinstance(reply, NullList):
            return False
        if isinstance(reply, dict):
            return self._table([self._to_lua(part) for pair in reply.items() for part in pair])
        if isinstance(reply, Pairs):
            return self._table([self._to_lua(part) for pair in reply for part in pair])
        if isinstance(reply, list | set):
            return self._table([self._to_lua(each) for each in reply])
        return False

    def _reply(self, value: Any, name: bytes, depth: int = 0) -> Reply:
        if depth > 100:
            raise Failure(b"ERR reached lua stack limit")
        if isinstance(value, bool):
            return 1 if value else None
        if isinstance(value, bytes):
            return value
        if isinstance(value, int | float):
            return _truncated(value)
        if self._type_of(value) != "table":
            return None
        if (text := value[b"err"]) is not None:
            failure = Failure(_bytes(text))
            if depth:
                return failure
            raise failure
        if (text := value[b"ok"]) is not None:
            return Status(_bytes(text).replace(b"\r", b" ").replace(b"\n", b" "))
        if isinstance(number := value[b"double"], int | float):
            return float(number)
        found: list[Reply] = []
        while (each := value[len(found) + 1]) is not None:
            found.append(self._reply(each, name, depth + 1))
        return found

    def _plain(self, value: Any, depth: int = 0) -> Any:
        """For cjson: a table with the keys 1 … n is a list, an empty one an object."""
        if value is _JSON_NULL:
            return None
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogateescape")
        if value is None or isinstance(value, int | float):
            return value
        if self._type_of(value) != "table" or depth > 100:
            raise ValueError("cannot serialise that")
        pairs = {key: self._plain(each, depth + 1) for key, each in value.items()}
        if pairs and all(isinstance(key, int) for key in pairs) and len(value) == len(pairs):
            return [pairs[place] for place in range(1, len(pairs) + 1)]
        return {_bytes(key).decode("utf-8", "surrogateescape"): each for key, each in pairs.items()}

    def _from_json(self, value: Any) -> Any:
        if value is None:
            return _JSON_NULL
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, list):
            return self._table([self._from_json(each) for each in value])
        if isinstance(value, dict):
            return self._table({key.encode("utf-8", "surrogateescape"): self._from_json(value[key]) for key in value})
        return value


def _no_attribute(owner: object, name: object, setting: bool) -> object:
    raise AttributeError(name)


def _bytes(value: Any) -> bytes:
    """A string, or a number as Lua writes it."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return b"%d" % value if value.is_integer() and abs(value) < 1e17 else f"{value:.17g}".encode()
    return f"{value}".encode()


def _truncated(value: int | float) -> int:
    """A double as C makes an integer of it."""
    try:
        number = int(value)
    except (OverflowError, ValueError):
        return -(2**63)
    return number if -(2**63) <= number < 2**63 else -(2**63)


def _run(client: Client, name: bytes, count: bytes, words: Sequence[bytes]) -> Reply:
    number = integer(count)
    if number > len(words):
        raise Failure(b"ERR Number of keys can't be greater than number of args")
    if number < 0:
        raise Failure(b"ERR Number of keys can't be negative")
    return client.server.scripts.run(client, name, words[:number], words[number:])


@command("EVAL", "EVAL_RO", scripted=False)
def eval_(client: Client, text: bytes, count: bytes, *words: bytes) -> Reply:
    integer(count)
    return _run(client, client.server.scripts.add(text), count, words)


@command("EVALSHA", "EVALSHA_RO", scripted=False)
def evalsha(client: Client, name: bytes, count: bytes, *words: bytes) -> Reply:
    return _run(client, name.lower(), count, words)


@command("SCRIPT|LOAD", scripted=False)
def script_load(client: Client, text: bytes) -> Reply:
    return client.server.scripts.add(text)


@command("SCRIPT|EXISTS", scripted=False)
def script_exists(client: Client, name: bytes, *names: bytes) -> Reply:
    return [int(each.lower() in client.server.scripts.texts) for each in (name, *names)]


@command("SCRIPT|FLUSH", scripted=False)
def script_flush(client: Client, how: bytes = b"SYNC") -> Reply:
    if how.upper() not in (b"SYNC", b"ASYNC"):
        raise Failure(b"ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    client.server.scripts.flush()
    return OK


@command("SCRIPT|KILL", scripted=False)
def script_kill(client: Client) -> Reply:
    raise Failure(b"NOTBUSY No scripts in execution right now.")
