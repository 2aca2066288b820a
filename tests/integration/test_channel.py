"""Our end of a child's channel, with the other end in the hands of the test."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from devstack import host
from devstack.runtime.channel import LONGEST_MESSAGE, Channel

Heard = list[tuple[dict[str, object], list[int]]]


def with_channel(script: Callable[[Channel, socket.socket, Heard], Awaitable[None]]) -> None:
    async def play() -> None:
        ours, theirs = socket.socketpair()
        heard: Heard = []
        channel = Channel(host.here(), ours, lambda message, descriptors: heard.append((message, descriptors)))
        theirs.setblocking(False)
        try:
            await asyncio.wait_for(script(channel, theirs, heard), 10)
        finally:
            channel.close()
            theirs.close()

    asyncio.run(play())


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0)


def test_messages_come_one_by_one_however_they_were_cut() -> None:
    async def script(channel: Channel, theirs: socket.socket, heard: Heard) -> None:
        for piece in (b'{"type": "a"}\n{"ty', b'pe": "b"}', b"\n"):
            theirs.send(piece)
            await asyncio.sleep(0)
        await until(lambda: len(heard) == 2)
        assert [message["type"] for message, _ in heard] == ["a", "b"]

    with_channel(script)


@pytest.mark.parametrize(
    "garbage", [b"\n", b"hello\n", b"[1]\n", b"\xff\xfe\n", b'"text"\n', b"x" * (2 * LONGEST_MESSAGE) + b"\n"]
)
def test_what_is_no_message_is_ignored(garbage: bytes) -> None:
    async def script(channel: Channel, theirs: socket.socket, heard: Heard) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(theirs, garbage + b'{"type": "a"}\n')
        await until(lambda: bool(heard))
        assert heard == [({"type": "a"}, [])]

    with_channel(script)


def test_descriptors_come_with_their_message_and_are_closed_with_garbage() -> None:
    async def script(channel: Channel, theirs: socket.socket, heard: Heard) -> None:
        reading, writing = os.pipe()
        socket.send_fds(theirs, [b"garbage\n"], [writing])
        socket.send_fds(theirs, [b'{"type": "listening"}\n'], [writing])
        os.close(writing)
        await until(lambda: bool(heard))
        (message, [copy]) = heard[0]
        assert message == {"type": "listening"}
        os.write(copy, b"x")
        os.close(copy)
        assert os.read(reading, 10) == b"x"
        assert os.read(reading, 10) == b"", "nobody else holds the other end"
        os.close(reading)

    with_channel(script)


def test_an_order_carries_copies_of_descriptors() -> None:
    async def script(channel: Channel, theirs: socket.socket, heard: Heard) -> None:
        reading, writing = os.pipe()
        channel.order("go listen=1", [writing])
        os.close(writing)
        words, [copy], _, _ = socket.recv_fds(theirs, 100, 4)
        assert words == b"go listen=1\n"
        os.close(copy)
        assert os.read(reading, 1) == b""
        os.close(reading)

    with_channel(script)


def test_orders_that_the_child_does_not_read_yet_wait_for_it_in_order() -> None:
    async def script(channel: Channel, theirs: socket.socket, heard: Heard) -> None:
        names = " ".join(f"module_{n}" for n in range(200_000))
        channel.order(f"warm {names}")
        channel.order("go")
        loop, got = asyncio.get_running_loop(), b""
        while not got.endswith(b"\ngo\n"):
            got += await loop.sock_recv(theirs, 1 << 20)
        assert got == f"warm {names}\ngo\n".encode()

    with_channel(script)


def test_a_child_that_closed_its_end_takes_no_orders_and_breaks_nothing() -> None:
    async def script(channel: Channel, theirs: socket.socket, heard: Heard) -> None:
        theirs.close()
        reading, writing = os.pipe()
        channel.order("leave", [writing])
        channel.order("leave")
        os.close(writing)
        assert os.read(reading, 1) == b"", "the copy is closed"
        os.close(reading)

    with_channel(script)
