"""MULTI, EXEC and WATCH."""

from __future__ import annotations

from devstack.redisd.client import Client
from devstack.redisd.protocol import NULL_LIST, OK, Failure, Reply
from devstack.redisd.table import command


@command("MULTI", scripted=False, queued=False)
def multi(client: Client) -> Reply:
    if client.queue is not None:
        client.broken = True
        raise Failure(b"ERR Command 'multi' not allowed inside a transaction")
    client.queue, client.broken = [], False
    return OK


@command("DISCARD", scripted=False, queued=False)
def discard(client: Client) -> Reply:
    if client.queue is None:
        raise Failure(b"ERR DISCARD without MULTI")
    _end(client)
    return OK


@command("EXEC", scripted=False, queued=False)
def exec_(client: Client) -> Reply:
    queue = client.queue
    if queue is None:
        raise Failure(b"ERR EXEC without MULTI")
    stale, broken = client.server.is_stale(client), client.broken
    _end(client)
    if broken:
        raise Failure(b"EXECABORT Transaction discarded because of previous errors.")
    if stale:
        return NULL_LIST
    client.may_wait = False
    try:
        return [client.server.run(client, found, arguments) for found, arguments in queue]
    finally:
        client.may_wait = True


def _end(client: Client) -> None:
    client.queue, client.broken = None, False
    client.server.unwatch(client)


@command("WATCH", scripted=False, queued=False)
def watch(client: Client, key: bytes, *keys: bytes) -> Reply:
    if client.queue is not None:
        client.broken = True
        raise Failure(b"ERR Command 'watch' not allowed inside a transaction")
    for each in (key, *keys):
        client.server.watch(client, each)
    return OK


@command("UNWATCH", scripted=False)
def unwatch(client: Client) -> Reply:
    client.server.unwatch(client)
    return OK
