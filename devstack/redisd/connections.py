"""Commands by which a client introduces itself, and sees the others: HELLO, AUTH, SELECT, CLIENT."""

from __future__ import annotations

from collections.abc import Sequence

from devstack.redisd.arguments import integer, small
from devstack.redisd.client import Client
from devstack.redisd.keyspace import now
from devstack.redisd.numbers import integer as number_of
from devstack.redisd.protocol import NOTHING, NULL_LIST, OK, SYNTAX, Failure, Reply, Status, Verbatim
from devstack.redisd.table import command

REDIS_VERSION = b"7.2.4"
"""The Redis that clients are to take us for; Valkey says the same."""
_NO_CLIENT = Failure(b"ERR No such client")


@command("PING", subscribed=True)
def ping(client: Client, *words: bytes) -> Reply:
    if len(words) > 1:
        raise Failure(b"ERR wrong number of arguments for 'ping' command")
    message = words[0] if words else None
    if client.version == 2 and client.subscriptions:
        return [b"pong", message or b""]
    return Status(b"PONG") if message is None else message


@command("ECHO")
def echo(client: Client, message: bytes) -> Reply:
    return message


@command("SELECT")
def select(client: Client, number: bytes) -> Reply:
    index = small(number)
    databases = client.server.keyspace.databases
    if not 0 <= index < len(databases):
        raise Failure(b"ERR DB index is out of range")
    client.db = databases[index]
    return OK


@command("QUIT", scripted=False, subscribed=True, queued=False, open=True)
def quit_(client: Client, *words: bytes) -> Reply:
    client.reply(OK)
    client.close(False)
    return NOTHING


@command("RESET", scripted=False, subscribed=True, queued=False, open=True)
def reset(client: Client) -> Reply:
    client.server.forget(client)
    client.start_over()
    return Status(b"RESET")


@command("AUTH", scripted=False, open=True)
def auth(client: Client, word: bytes, password: bytes | None = None) -> Reply:
    if password is None:
        if not client.server.logins.needed:
            raise Failure(
                b"ERR AUTH <password> called without any password configured for the default user. "
                b"Are you sure your configuration is correct?"
            )
        _log_in(client, b"default", word)
    else:
        _log_in(client, word, password)
    return OK


def _log_in(client: Client, name: bytes, password: bytes) -> None:
    client.server.logins.check(name, password)
    client.user, client.trusted = name, True


@command("HELLO", scripted=False, open=True)
def hello(client: Client, version: bytes | None = None, *words: bytes) -> Reply:
    wanted = client.version
    if version is not None:
        wanted = integer(version, Failure(b"ERR Protocol version is not an integer or out of range"))
        if wanted not in (2, 3):
            raise Failure(b"NOPROTO unsupported protocol version")
    rest, name = list(words), None
    while rest:
        word = rest.pop(0).upper()
        if word == b"AUTH" and len(rest) >= 2:
            _log_in(client, rest.pop(0), rest.pop(0))
        elif word == b"SETNAME" and rest:
            name = _checked_name(rest.pop(0), b"Client names")
        else:
            raise Failure(b"ERR Syntax error in HELLO option '%b'" % word.lower())
    if not client.trusted:
        raise Failure(
            b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
            b"<user> <pass> option can be used to authenticate the client and select the RESP protocol version at "
            b"the same time"
        )
    if name is not None:
        client.name = name
    client.version = wanted
    return {
        b"server": b"redis",
        b"version": REDIS_VERSION,
        b"proto": wanted,
        b"id": client.number,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


def _checked_name(text: bytes, what: bytes) -> bytes:
    if any(not 33 <= each <= 126 for each in text):
        raise Failure(b"ERR %b cannot contain spaces, newlines or special characters." % what)
    return text


@command("CLIENT|SETNAME", scripted=False)
def client_setname(client: Client, name: bytes) -> Reply:
    client.name = _checked_name(name, b"Client names")
    return OK


@command("CLIENT|GETNAME", scripted=False)
def client_getname(client: Client) -> Reply:
    return client.name or None


@command("CLIENT|SETINFO", scripted=False)
def client_setinfo(client: Client, what: bytes, value: bytes) -> Reply:
    if what.lower() == b"lib-name":
        client.library = _checked_name(value, b"lib-name")
    elif what.lower() == b"lib-ver":
        client.library_version = _checked_name(value, b"lib-ver")
    else:
        raise Failure(b"ERR Unrecognized option '%b'" % what)
    return OK


@command("CLIENT|ID", scripted=False)
def client_id(client: Client) -> Reply:
    return client.number


@command("CLIENT|INFO", scripted=False)
def client_info(client: Client) -> Reply:
    return Verbatim(_line(client))


@command("CLIENT|LIST", scripted=False)
def client_list(client: Client, *words: bytes) -> Reply:
    clients = list(client.server.clients.values())
    if words:
        kind, *values = words
        if kind.upper() == b"ID" and values:
            wanted = [integer(each, Failure(b"ERR Invalid client ID")) for each in values]
            clients = [each for each in clients if each.number in wanted]
        elif kind.upper() == b"TYPE" and len(values) == 1:
            clients = [each for each in clients if _type(each) == _known_type(values[0])]
        else:
            raise SYNTAX
    return Verbatim(b"".join(_line(each) for each in clients))


def _type(client: Client) -> bytes:
    return b"pubsub" if client.subscriptions else b"normal"


def _known_type(word: bytes) -> bytes:
    if word.lower() not in (b"normal", b"pubsub", b"master", b"replica", b"slave"):
        raise Failure(b"ERR Unknown client type '%b'" % word)
    return word.lower()


def _line(client: Client) -> bytes:
    moment = now()
    flags = b"".join(
        flag
        for flag, true in (
            (b"P", bool(client.subscriptions)),
            (b"x", client.queue is not None),
            (b"b", client.waiting is not None),
        )
        if true
    )
    values = {
        "id": client.number,
        "addr": client.address,
        "laddr": client.local_address,
        "fd": 0,
        "name": client.name.decode(),
        "age": (moment - client.since) // 1000,
        "idle": (moment - client.last_seen) // 1000,
        "flags": (flags or b"N").decode(),
        "db": client.db.number,
        "sub": len(client.channels),
        "psub": len(client.patterns),
        "ssub": 0,
        "multi": -1 if client.queue is None else len(client.queue),
        "watch": len(client.watched),
        "cmd": client.last_command.decode(),
        "user": client.user.decode("utf-8", "replace"),
        "redir": -1,
        "resp": client.version,
        "lib-name": client.library.decode(),
        "lib-ver": client.library_version.decode(),
    }
    return " ".join(f"{name}={value}" for name, value in values.items()).encode() + b"\n"


@command("CLIENT|UNBLOCK", scripted=False)
def client_unblock(client: Client, number: bytes, how: bytes = b"TIMEOUT") -> Reply:
    if how.upper() not in (b"TIMEOUT", b"ERROR"):
        raise Failure(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    other = client.server.clients.get(integer(number))
    if other is None or other.waiting is None:
        return 0
    wait = other.waiting
    error = Failure(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
    client.server.waiting.finish(wait, NULL_LIST if how.upper() == b"TIMEOUT" else error)
    return 1


@command("CLIENT|KILL", scripted=False)
def client_kill(client: Client, word: bytes, *words: bytes) -> Reply:
    if not words:
        found = [each for each in client.server.clients.values() if each.address.encode() == word]
        if not found:
            raise _NO_CLIENT
        _kill(client, found)
        return OK
    found = _chosen(client, (word, *words))
    _kill(client, found)
    return len(found)


def _chosen(client: Client, words: Sequence[bytes]) -> list[Client]:
    if len(words) % 2:
        raise SYNTAX
    found, spare_me = list(client.server.clients.values()), True
    for name, value in zip(words[::2], words[1::2], strict=True):
        option = name.upper()
        if option == b"ID":
            number = number_of(value)
            if number is None or number < 1:
                raise Failure(b"ERR client-id should be greater than 0")
            found = [each for each in found if each.number == number]
        elif option == b"ADDR":
            found = [each for each in found if each.address.encode() == value]
        elif option == b"LADDR":
            found = [each for each in found if each.local_address.encode() == value]
        elif option == b"TYPE":
            found = [each for each in found if _type(each) == _known_type(value)]
        elif option == b"USER":
            found = [each for each in found if each.user == value]
        elif option == b"SKIPME" and value.lower() in (b"yes", b"no"):
            spare_me = value.lower() == b"yes"
        else:
            raise SYNTAX
    return [each for each in found if each is not client or not spare_me]


def _kill(client: Client, found: list[Client]) -> None:
    for each in found:
        # Oneself last, after the reply.
        each.close(each is not client)


@command("CLIENT|NO-EVICT", "CLIENT|NO-TOUCH", scripted=False)
def client_no_evict(client: Client, word: bytes) -> Reply:
    if word.lower() not in (b"on", b"off"):
        raise SYNTAX
    return OK
