"""Channels, patterns, and who listens: SUBSCRIBE, PSUBSCRIBE, PUBLISH."""

from __future__ import annotations

from collections.abc import Callable

from devstack.redisd.client import Client
from devstack.redisd.patterns import matcher
from devstack.redisd.protocol import Push, Reply, Several
from devstack.redisd.table import command


class Exchange:
    """Who listens to what. A dict serves as an ordered set."""

    def __init__(self) -> None:
        self.channels: dict[bytes, dict[Client, None]] = {}
        self.patterns: dict[bytes, tuple[Callable[[bytes], bool], dict[Client, None]]] = {}

    def publish(self, channel: bytes, message: bytes) -> int:
        """To how many listeners it went."""
        count = 0
        for client in self.channels.get(channel, ()):
            client.reply(Push([b"message", channel, message]))
            count += 1
        for pattern, (matches, clients) in self.patterns.items():
            if matches(channel):
                for client in clients:
                    client.reply(Push([b"pmessage", pattern, channel, message]))
                    count += 1
        return count

    def subscribe(self, client: Client, channel: bytes) -> None:
        client.channels[channel] = None
        self.channels.setdefault(channel, {})[client] = None

    def subscribe_pattern(self, client: Client, pattern: bytes) -> None:
        client.patterns[pattern] = None
        if pattern not in self.patterns:
            self.patterns[pattern] = (matcher(pattern), {})
        self.patterns[pattern][1][client] = None

    def unsubscribe(self, client: Client, channel: bytes) -> None:
        client.channels.pop(channel, None)
        if (clients := self.channels.get(channel)) is not None:
            clients.pop(client, None)
            if not clients:
                del self.channels[channel]

    def unsubscribe_pattern(self, client: Client, pattern: bytes) -> None:
        client.patterns.pop(pattern, None)
        if pattern in self.patterns:
            clients = self.patterns[pattern][1]
            clients.pop(client, None)
            if not clients:
                del self.patterns[pattern]

    def forget(self, client: Client) -> None:
        for channel in list(client.channels):
            self.unsubscribe(client, channel)
        for pattern in list(client.patterns):
            self.unsubscribe_pattern(client, pattern)


@command("SUBSCRIBE", scripted=False, subscribed=True)
def subscribe(client: Client, channel: bytes, *channels: bytes) -> Reply:
    said: list[Reply] = []
    for each in (channel, *channels):
        client.server.exchange.subscribe(client, each)
        said.append(Push([b"subscribe", each, client.subscriptions]))
    return Several(said)


@command("PSUBSCRIBE", scripted=False, subscribed=True)
def psubscribe(client: Client, pattern: bytes, *patterns: bytes) -> Reply:
    said: list[Reply] = []
    for each in (pattern, *patterns):
        client.server.exchange.subscribe_pattern(client, each)
        said.append(Push([b"psubscribe", each, client.subscriptions]))
    return Several(said)


@command("UNSUBSCRIBE", scripted=False, subscribed=True)
def unsubscribe(client: Client, *channels: bytes) -> Reply:
    said: list[Reply] = []
    for each in channels or tuple(client.channels):
        client.server.exchange.unsubscribe(client, each)
        said.append(Push([b"unsubscribe", each, client.subscriptions]))
    return Several(said or [Push([b"unsubscribe", None, client.subscriptions])])


@command("PUNSUBSCRIBE", scripted=False, subscribed=True)
def punsubscribe(client: Client, *patterns: bytes) -> Reply:
    said: list[Reply] = []
    for each in patterns or tuple(client.patterns):
        client.server.exchange.unsubscribe_pattern(client, each)
        said.append(Push([b"punsubscribe", each, client.subscriptions]))
    return Several(said or [Push([b"punsubscribe", None, client.subscriptions])])


@command("PUBLISH")
def publish(client: Client, channel: bytes, message: bytes) -> Reply:
    return client.server.exchange.publish(channel, message)


@command("PUBSUB|CHANNELS")
def pubsub_channels(client: Client, pattern: bytes = b"*") -> Reply:
    matches = matcher(pattern)
    return [each for each in client.server.exchange.channels if matches(each)]


@command("PUBSUB|NUMSUB")
def pubsub_numsub(client: Client, *channels: bytes) -> Reply:
    known = client.server.exchange.channels
    return [part for each in channels for part in (each, len(known.get(each, ())))]


@command("PUBSUB|NUMPAT")
def pubsub_numpat(client: Client) -> Reply:
    return len(client.server.exchange.patterns)
