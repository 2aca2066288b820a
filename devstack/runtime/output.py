"""The merged stream: every process's lines, and our own, onto one terminal.

Rule 1: each byte once, in order per process; a line is never cut by another process.
Rule 2: when the terminal does not keep up, `on_full` tells the pipes to pause (children then block, as on a real terminal) and `on_drained`
lets them go on; nothing is dropped and memory stays flat.
Rule 3: a prompt without newline is shown after PROMPT_AFTER seconds; if somebody else has to write meanwhile, it gets its newline first.
Rule 4: nothing that a reader does (stalls, goes away) can hold up the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

from devstack.core.lines import RESET, Lines, prefixed
from devstack.core.names import OURS
from devstack.core.record import Record
from devstack.host import here
from devstack.runtime.logs import Logs
from devstack.runtime.parts import Part, length
from devstack.runtime.writer import Writer

PROMPT_AFTER, PROMPT_WITHIN = 0.25, 1.0
PATIENCE = 2.0

# Light and readable on dark and on bright terminals; red is left to errors.
COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")


class Look(Record):
    """How the stream looks. `only` and `hidden` are names of services or of single processes; devstack's own words are always shown.

    `as_json` makes each line an object: {"time": seconds since 1970, "process": "web.1", "text": …}.
    """

    colour: bool = False
    timestamps: bool = True
    prefix: bool = True
    as_json: bool = False
    only: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()

    def shows(self, name: str) -> bool:
        names = {name, name.rpartition(".")[0]}
        return (not self.only or not names.isdisjoint(self.only)) and names.isdisjoint(self.hidden)


MOST_HELD = 256 * 1024
"""Bytes."""


class Source:
    """The stream of one process. `feed` takes chunks as they come; `end` flushes a last line without newline.

    One that is not `shown` goes to the log file alone.
    """

    def __init__(self, output: Output, name: str, shown: bool) -> None:
        self._output = output
        self._shown = shown
        self.name = name
        self.lines = Lines()
        self._held: list[bytes] | None = None

    def hold(self, within: float) -> None:
        """Show nothing until `release`, for so many seconds at most."""
        self._held = []
        asyncio.get_running_loop().call_later(within, self.release)

    def release(self, show: bool = True) -> None:
        """Go on as ever, with what was held, or without it."""
        held, self._held = self._held, None
        if held and show:
            self._output.show(self, b"".join(held))
        if held is not None and self.lines.waiting and self._shown and self._output.shows_prompts:
            self._output.expect_prompt(self)

    def feed(self, chunk: bytes) -> None:
        block = self.lines.feed(chunk)
        if block:
            self._show(block)
            self._output.log(self.name, block)
        if self.lines.waiting and self._shown and self._held is None and self._output.shows_prompts:
            self._output.expect_prompt(self)

    def end(self) -> None:
        rest = self.lines.take()
        if rest or self._output.open_line is self:
            self._show(rest + b"\n")
            self._output.log(self.name, rest + b"\n")

    def _show(self, block: bytes) -> None:
        if self._held is not None and self._shown:
            self._held.append(block)
            if length(self._held) > MOST_HELD:
                self.release()
        elif self._shown:
            self._output.show(self, block)

    def take(self) -> bytes:
        """The unfinished line, to be shown as it is."""
        rest = self.lines.show()
        self._output.log(self.name, rest)
        return rest


class Output:
    """Prefixes and colours. One per `up`; `names` fixes the width of the prefix column. `logs` gets everything, shown or not."""

    def __init__(self, names: Iterable[str], *, look: Look, logs: Logs | None = None) -> None:
        names = [name for name in names if look.shows(name)]
        self._width = max(map(len, [*names, OURS]))
        self._look = look
        self._colour = look.colour
        self._logs = logs
        self.shows_prompts = not look.as_json
        self._labels: dict[str, bytes] = {OURS: self._label(OURS, "1")}
        self._palette: dict[str, str] = {}
        for name in names:
            self.add(name)
        self._stamp: tuple[int, bytes] = (0, b"")
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unfinished: dict[Source, tuple[float, float]] = {}
        """Since when (loop time) each unfinished line is there, and since when it has not grown."""
        self._sweeping = self._stalled = False
        self.open_line: Source | None = None
        """Whose unfinished line the cursor stands behind."""

    def add(self, name: str) -> None:
        """Give a process its label; all instances of a service share a colour."""
        service = name.rpartition(".")[0]
        colour = self._palette.setdefault(service, COLOURS[len(self._palette) % len(COLOURS)])
        self._labels[name] = self._label(name, colour)

    def open(
        self, fd: int, on_full: Callable[[], None], on_drained: Callable[[], None], on_broken: Callable[[OSError], None]
    ) -> None:
        """Start writing to `fd`, from inside the running loop."""
        self._loop = asyncio.get_running_loop()

        def full() -> None:
            self._stalled = True
            here().widen(fd)
            on_full()

        def drained() -> None:
            if (self._writer and self._writer.full) or (self._logs and self._logs.full):
                return  # the other one is full, or it has filled up again before this news arrived
            # Nobody could go on with a line while the pipes were paused: what waits now is no prompt.
            now = asyncio.get_running_loop().time()
            self._unfinished = dict.fromkeys(self._unfinished, (now, now))
            self._stalled = False
            on_drained()

        self._writer = Writer(fd, self._loop, full, drained, on_broken)
        if self._logs:
            self._logs.open(full, drained)

    def source(self, name: str, shown: bool = True) -> Source:
        return Source(self, name, shown and self._look.shows(name))

    def log(self, name: str, data: bytes) -> None:
        if self._logs:
            self._logs.write(name, data)

    def say(self, text: str) -> None:
        """Something of our own, prefixed like a process's lines; passwords in it are masked."""
        from devstack.core.secrets import mask

        block = mask(text).encode(errors="replace") + b"\n"
        self.log(OURS, block)
        self._write(self._interrupt(None), *self._formatted(OURS, block))

    def show(self, source: Source, block: bytes) -> None:
        """Whole lines of a process; the first goes on with its open line, if it has one."""
        self._unfinished.pop(source, None)
        if self.open_line is source:
            self.open_line = None
            first, newline, rest = block.partition(b"\n")
            end = RESET + newline if self._colour else newline
            self._write(first, end, *(self._formatted(source.name, rest) if rest else ()))
        else:
            self._write(self._interrupt(source), *self._formatted(source.name, block))

    def expect_prompt(self, source: Source) -> None:
        """`source` has an unfinished line; show it unless it ends soon."""
        if self.open_line is source:  # a progress bar that goes on
            self._write(source.take())
        elif self._loop:
            now = self._loop.time()
            self._unfinished[source] = (self._unfinished.get(source, (now, now))[0], now)
            self._sweep_in(PROMPT_AFTER)

    async def close(self, hurried: Callable[[], bool]) -> int:
        """Finish the open line and wait until the reader has taken everything; the number of bytes that it has not.

        A slow reader (a pager) is waited for. Once `hurried` says that somebody wants us to leave, one that takes nothing for PATIENCE
        seconds is given up.
        """
        if self._writer is None:
            return 0
        self._write(self._interrupt(None))
        self._writer.close()
        taken, since = self._writer.written, time.monotonic()
        while not self._writer.ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._writer.ended.wait(), PATIENCE / 4)
            if self._writer.written != taken or not hurried():
                taken, since = self._writer.written, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                break
        return self._writer.unwritten

    def _sweep_in(self, seconds: float) -> None:
        if not self._sweeping and self._loop:
            self._sweeping = True
            self._loop.call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Show the unfinished lines that have not grown for PROMPT_AFTER, or that do nothing but grow for PROMPT_WITHIN."""
        self._sweeping = False
        assert self._loop
        if self._stalled:
            self._sweep_in(PROMPT_AFTER)
            return
        now = self._loop.time()
        for source, (first, last) in list(self._unfinished.items()):
            # One that came after the timer was set waits for the next look.
            if now - last >= PROMPT_AFTER * 0.99 or now - first >= PROMPT_WITHIN:
                del self._unfinished[source]
                start = b"" if self.open_line is source else self._interrupt(source) + self._prefix(source.name)
                self.open_line = source
                self._write(start, source.take())
        if self._unfinished:
            oldest = min(last for _, last in self._unfinished.values())
            self._sweep_in(max(PROMPT_AFTER - (now - oldest), 0.01))

    def _interrupt(self, by: Source | None) -> bytes:
        if self.open_line is None or self.open_line is by:
            return b""
        self.open_line = None
        return RESET + b"\n" if self._colour else b"\n"

    def _formatted(self, name: str, block: bytes) -> tuple[Part, ...]:
        """Whole lines, as they are written."""
        if not (self._look.as_json or self._look.prefix or self._colour):
            return (block,)  # the bytes as they are
        if not self._look.as_json:
            return prefixed(block, self._prefix(name))
        import json

        now = round(time.time(), 3)
        lines = block[:-1].decode(errors="replace").split("\n")
        lines = [line.removesuffix("\r") for line in lines]  # as programs on Windows end theirs
        rows = (json.dumps({"time": now, "process": name, "text": line}, ensure_ascii=False) for line in lines)
        return ("".join(f"{row}\n" for row in rows).encode(),)

    def _prefix(self, name: str) -> bytes:
        if not self._look.prefix:
            return b""
        if not self._look.timestamps:
            return self._labels[name]
        now = int(time.time())
        if self._stamp[0] != now:
            self._stamp = (now, time.strftime("%H:%M:%S ", time.localtime(now)).encode())
        return self._stamp[1] + self._labels[name]

    def _label(self, name: str, colour: str) -> bytes:
        text = f"{name:<{self._width}} | "
        return f"\x1b[{colour}m{text}\x1b[0m".encode() if self._colour else text.encode()

    def _write(self, *parts: Part) -> None:
        if self._writer and (parts := tuple(filter(None, parts))):
            self._writer.write(parts)
