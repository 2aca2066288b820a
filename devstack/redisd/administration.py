"""Commands about the server itself: INFO, CONFIG, saving, stopping."""

from __future__ import annotations

import os
import time

from devstack.redisd import numbers
from devstack.redisd.client import Client
from devstack.redisd.connections import REDIS_VERSION
from devstack.redisd.patterns import matcher
from devstack.redisd.protocol import NOTHING, NULL_LIST, OK, SYNTAX, Failure, Reply, Status, Verbatim
from devstack.redisd.server import Server
from devstack.redisd.settings import BadSetting, memory, save_every
from devstack.redisd.table import COMMANDS, command


@command("INFO")
def info(client: Client, *sections: bytes) -> Reply:
    wanted = {each.lower() for each in sections} or {b"default"}
    everything = bool(wanted & {b"default", b"all", b"everything"})
    parts = [
        f"# {name.capitalize()}\r\n" + "".join(f"{key}:{value}\r\n" for key, value in lines.items())
        for name, lines in _sections(client.server).items()
        if everything or name.encode() in wanted
    ]
    return Verbatim("\r\n".join(parts).encode())


def _sections(server: Server) -> dict[str, dict[str, object]]:
    settings, up = server.settings, int(time.time() - server.started)
    used = server.keyspace.measured()
    return {
        "server": {
            "redis_version": REDIS_VERSION.decode(),
            "redis_mode": "standalone",
            "server_name": "devstack",
            "process_id": os.getpid(),
            "tcp_port": settings.port,
            "uptime_in_seconds": up,
            "uptime_in_days": up // 86400,
            "executable": "devstack.redisd",
        },
        "clients": {
            "connected_clients": len(server.clients),
            "maxclients": settings.maxclients,
            "blocked_clients": len(server.waiting),
            "pubsub_clients": sum(bool(each.subscriptions) for each in server.clients.values()),
        },
        "memory": {
            "used_memory": used,
            "used_memory_human": f"{used / 2**20:.2f}M",
            "used_memory_peak": used,
            "maxmemory": settings.maxmemory,
            "maxmemory_policy": "noeviction",
        },
        "persistence": {
            "loading": 0,
            "rdb_changes_since_last_save": server.keyspace.changes,
            "rdb_bgsave_in_progress": 0,
            "rdb_last_save_time": server.saved_at,
            "rdb_last_bgsave_status": "ok",
            "aof_enabled": 0,
        },
        "stats": {
            "total_connections_received": server.connections,
            "total_commands_processed": server.commands,
            "rejected_connections": server.rejected,
            "pubsub_channels": len(server.exchange.channels),
            "pubsub_patterns": len(server.exchange.patterns),
        },
        "replication": {"role": "master", "connected_slaves": 0},
        "cluster": {"cluster_enabled": 0},
        "keyspace": {
            f"db{each.number}": f"keys={len(each.values)},expires={len(each.expires)},avg_ttl=0"
            for each in server.keyspace.databases
            if each.values
        },
    }


def _configuration(server: Server) -> dict[bytes, bytes]:
    settings = server.settings
    return {
        b"appendonly": b"no",
        b"bind": settings.bind.encode(),
        b"databases": b"%d" % settings.databases,
        b"dbfilename": settings.file.encode(),
        b"dir": settings.dir.encode("utf-8", "surrogateescape"),
        b"maxclients": b"%d" % settings.maxclients,
        b"maxmemory": b"%d" % settings.maxmemory,
        b"maxmemory-policy": b"noeviction",
        b"notify-keyspace-events": b"",
        b"port": b"%d" % settings.port,
        b"proto-max-bulk-len": b"536870912",
        b"requirepass": settings.password,
        b"save": b"%d 1" % settings.save if settings.save else b"",
        b"stop-writes-on-bgsave-error": b"no",
        b"timeout": b"0",
    }


@command("CONFIG|GET", scripted=False)
def config_get(client: Client, pattern: bytes, *patterns: bytes) -> Reply:
    matching = [matcher(each.lower()) for each in (pattern, *patterns)]
    found = _configuration(client.server).items()
    return {name: value for name, value in found if any(matches(name) for matches in matching)}


@command("CONFIG|SET", scripted=False)
def config_set(client: Client, name: bytes, value: bytes) -> Reply:
    settings, option = client.server.settings, name.lower()
    known = _configuration(client.server)
    if option not in known:
        raise Failure(b"ERR Unknown option or number of arguments for CONFIG SET - '%b'" % name)
    try:
        if option == b"maxmemory":
            settings.maxmemory = memory(value)
        elif option == b"maxclients" and (number := numbers.integer(value)) and number > 0:
            settings.maxclients = number
        elif option == b"requirepass":
            settings.password = value
            client.server.logins.require(value)
        elif option == b"save":
            settings.save = save_every(value)
        elif known[option] != value.lower():
            raise BadSetting("can't set immutable config")
    except BadSetting as error:
        raise Failure(
            b"ERR CONFIG SET failed (possibly related to argument '%b') - %b" % (name, f"{error}".encode())
        ) from None
    return OK


@command("CONFIG|RESETSTAT", scripted=False)
def config_resetstat(client: Client) -> Reply:
    server = client.server
    server.commands = server.connections = server.rejected = 0
    return OK


@command("SAVE", scripted=False)
def save(client: Client) -> Reply:
    _save(client)
    return OK


@command("BGSAVE", scripted=False)
def bgsave(client: Client, schedule: bytes | None = None) -> Reply:
    _save(client)
    return Status(b"Background saving started")


def _save(client: Client) -> None:
    try:
        client.server.save()
    except OSError as error:
        raise Failure(b"ERR the snapshot cannot be written: %b" % (error.strerror or "").encode()) from None


@command("LASTSAVE")
def lastsave(client: Client) -> Reply:
    return client.server.saved_at


@command("SHUTDOWN", scripted=False)
def shutdown(client: Client, *words: bytes) -> Reply:
    flags = {each.upper() for each in words}
    if not flags <= {b"SAVE", b"NOSAVE", b"NOW", b"FORCE"} or {b"SAVE", b"NOSAVE"} <= flags:
        raise SYNTAX
    client.server.stop(b"NOSAVE" not in flags)
    return NOTHING


@command("TIME")
def time_(client: Client) -> Reply:
    seconds, rest = divmod(time.time_ns() // 1000, 1_000_000)
    return [b"%d" % seconds, b"%d" % rest]


@command("ROLE", scripted=False)
def role(client: Client) -> Reply:
    return [b"master", 0, []]


@command("WAIT", scripted=False)
def wait(client: Client, replicas: bytes, timeout: bytes) -> Reply:
    return 0


@command("COMMAND|COUNT")
def command_count(client: Client) -> Reply:
    return len(COMMANDS)


@command("COMMAND|DOCS")
def command_docs(client: Client, *names: bytes) -> Reply:
    return {}


@command("COMMAND|LIST")
def command_list(client: Client) -> Reply:
    return [name.lower() for name in COMMANDS]


@command("COMMAND|INFO")
def command_info(client: Client, *names: bytes) -> Reply:
    return [NULL_LIST for _ in names]


@command("COMMAND")
def command_(client: Client) -> Reply:
    """Only what redis-cli and cluster clients look at: the names."""
    return []


@command("SLOWLOG|GET", scripted=False)
def slowlog_get(client: Client, count: bytes = b"10") -> Reply:
    return []


@command("SLOWLOG|LEN", "SLOWLOG|RESET", scripted=False)
def slowlog_len(client: Client) -> Reply:
    return 0


@command("ACL|WHOAMI", scripted=False)
def acl_whoami(client: Client) -> Reply:
    return client.user


@command("MODULE|LIST", scripted=False)
def module_list(client: Client) -> Reply:
    return []
