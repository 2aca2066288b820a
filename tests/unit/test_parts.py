from __future__ import annotations

import os
import random
from collections import deque

import pytest

from devstack.runtime.parts import AT_ONCE, Part, put, taken


def portions(parts: list[Part], size: int) -> list[list[Part]]:
    waiting = deque(parts)
    return list(iter(lambda: taken(waiting, size), []))


def test_portions_are_the_same_bytes_in_bounded_pieces() -> None:
    rng = random.Random(1)
    for _ in range(300):
        parts: list[Part] = [rng.randbytes(rng.choice((1, 3, 10, 40))) for _ in range(rng.randint(0, 12))]
        size = rng.randint(1, 25)
        found = [b"".join(portion) for portion in portions(parts, size)]
        assert b"".join(found) == b"".join(parts)
        assert all(len(portion) == size for portion in found[:-1])
        assert all(0 < len(portion) <= size for portion in found)


def test_a_portion_has_no_more_parts_than_a_call_takes() -> None:
    found = portions([b"a\n"] * (AT_ONCE * 2 + 1), 1 << 20)
    assert [len(portion) for portion in found] == [AT_ONCE, AT_ONCE, 1]


def test_what_is_not_taken_is_left() -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        data = bytes(range(256)) * 4096
        rest = put(writing, [data[:5], memoryview(data)[5:]])
        taken = os.read(reading, len(data))
        assert 0 < len(taken) < len(data)
        assert taken + b"".join(rest) == data
        assert put(writing, rest) != rest
        with pytest.raises(BlockingIOError):
            put(writing, rest)
    finally:
        os.close(reading)
        os.close(writing)
