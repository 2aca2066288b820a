"""The channel over loopback, which Windows needs: with a real child that `inside/boot` runs, and with callers who are nobody's child."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import devstack
from devstack.runtime.loopback import MOST_CALLERS, Loopback

BOOT = str(Path(devstack.__file__).parent / "inside" / "boot.py")
WITHIN = 20.0


class Heard:
    def __init__(self) -> None:
        self.messages: list[dict[str, object]] = []
        self.news = asyncio.Event()

    def __call__(self, message: dict[str, object], descriptors: list[int]) -> None:
        assert descriptors == []
        self.messages.append(message)
        self.news.set()

    async def until(self, kind: str) -> dict[str, object]:
        async with asyncio.timeout(WITHIN):
            while not (found := [each for each in self.messages if each.get("type") == kind]):
                self.news.clear()
                await self.news.wait()
        return found[-1]


async def call(address: str, *, token: str | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    _, port, right = address.split(":")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(f"{right if token is None else token}\n".encode())
    return reader, writer


def test_a_child_says_hello_and_hears_orders_that_were_given_before_it_called(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import project\nprint(project.LIVE)\n", "utf-8")
    (tmp_path / "project.py").write_text("LIVE = 'live'\n", "utf-8")

    async def history() -> None:
        heard = Heard()
        line = await Loopback.open(heard)
        line.order("go")
        env = {"DEVSTACK_CHANNEL": line.address, "DEVSTACK_STANDBY": "1", "DEVSTACK_ROOTS": str(tmp_path)}
        child = await asyncio.create_subprocess_exec(
            sys.executable, BOOT, "script", str(program), env=env, stdout=subprocess.PIPE
        )
        hello = await heard.until("hello")
        assert hello["pid"] == child.pid
        await heard.until("gate")
        out, _ = await asyncio.wait_for(child.communicate(), WITHIN)
        assert out == b"live\n"
        line.close()

    asyncio.run(history())


def test_nobody_without_the_token_is_heard_and_the_child_still_is() -> None:
    async def history() -> None:
        heard = Heard()
        line = await Loopback.open(heard)
        for token in ("", "wrong", "x" * 1000, line.address.split(":")[2][:-1]):
            reader, writer = await call(line.address, token=token)
            writer.write(b'{"type": "stranger"}\n')
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), WITHIN) == b""
            writer.close()
        _, writer = await call(line.address)
        writer.write(b'{"type": "hello"}\n')
        await heard.until("hello")
        assert [each["type"] for each in heard.messages] == ["hello"]
        writer.close()
        line.close()

    asyncio.run(history())


def test_once_the_child_has_called_nobody_else_can() -> None:
    async def history() -> None:
        heard = Heard()
        line = await Loopback.open(heard)
        _, writer = await call(line.address)
        writer.write(b'{"type": "hello"}\n')
        await heard.until("hello")
        with socket.socket() as other:
            assert other.connect_ex(("127.0.0.1", int(line.address.split(":")[1]))) != 0
        writer.close()
        line.close()

    asyncio.run(history())


def test_callers_who_say_nothing_are_put_off_when_they_are_many() -> None:
    async def history() -> None:
        heard = Heard()
        line = await Loopback.open(heard)
        port = int(line.address.split(":")[1])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CALLERS + 1)]
        reader, _ = silent[-1]
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), WITHIN) == b""
        line.close()
        for _, writer in silent:
            writer.close()

    asyncio.run(history())


def test_orders_after_the_end_are_dropped() -> None:
    async def history() -> None:
        line = await Loopback.open(Heard())
        line.order("quiesce")
        line.close()
        line.order("leave")
        line.close()

    asyncio.run(history())
