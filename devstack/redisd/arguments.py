"""What several families of commands read from their arguments."""

from __future__ import annotations

from collections.abc import Sequence

from devstack.redisd import numbers
from devstack.redisd.protocol import OUT_OF_RANGE, SYNTAX, Failure

NOT_AN_INTEGER = Failure(b"ERR value is not an integer or out of range")
NOT_A_FLOAT = Failure(b"ERR value is not a valid float")
NO_KEYS = Failure(b"ERR numkeys should be greater than 0")
TOO_LONG = Failure(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)")


def integer(text: bytes, failure: Failure = NOT_AN_INTEGER) -> int:
    value = numbers.integer(text)
    if value is None:
        raise failure
    return value


def small(text: bytes) -> int:
    """One of 32 bits."""
    value = integer(text)
    if not -(2**31) <= value < 2**31:
        raise Failure(b"ERR value is out of range, value must between -2147483648 and 2147483647")
    return value


def magnitude(text: bytes) -> int:
    """One of 64 bits whose opposite is one, too."""
    value = integer(text)
    if value == numbers.SMALLEST:
        raise Failure(b"ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
    return value


def positive(text: bytes) -> int:
    """0 or more."""
    value = numbers.integer(text)
    if value is None or value < 0:
        raise OUT_OF_RANGE
    return value


def double(text: bytes) -> float:
    value = numbers.double(text)
    if value is None:
        raise NOT_A_FLOAT
    return value


def numbered_keys(
    count: bytes,
    words: Sequence[bytes],
    *,
    wrong: Failure = NO_KEYS,
    too_many: Failure = SYNTAX,
) -> tuple[Sequence[bytes], list[bytes]]:
    """`numkeys key … rest`: the keys and the rest."""
    number = integer(count, wrong)
    if number < 1:
        raise wrong
    if number > len(words):
        raise too_many
    return words[:number], list(words[number:])


def within(start: int, stop: int, length: int) -> range:
    """Places from `start` to `stop`, both included, negative ones counted from the end."""
    if start < 0:
        start = max(start + length, 0)
    if stop < 0:
        stop += length
    return range(start, max(start, min(stop + 1, length)))
