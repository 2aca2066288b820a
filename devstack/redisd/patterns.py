"""Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\\` before a character that is meant as such."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=512)
def matcher(pattern: bytes) -> Callable[[bytes], bool]:
    if pattern == b"*":
        return lambda text: True
    compiled = re.compile(_expression(pattern), re.DOTALL)
    # Nothing but the empty pattern (and "*") matches an empty name: so it is in Redis.
    return lambda text: compiled.fullmatch(text) is not None and bool(text) == bool(pattern)


def _expression(pattern: bytes) -> bytes:
    """A star takes as little as it can and never reconsiders (an atomic group), so that no pattern takes for ever; the last takes all."""
    parts: list[bytes] = [b""]
    at = 0
    while at < len(pattern):
        one = pattern[at : at + 1]
        at += 1
        if one == b"*":
            parts.append(b"")
        elif one == b"?":
            parts[-1] += b"."
        elif one == b"[":
            some, at = _choice(pattern, at)
            parts[-1] += some
        else:
            if one == b"\\" and at < len(pattern):
                one = pattern[at : at + 1]
                at += 1
            parts[-1] += re.escape(one)
    first, *rest = parts
    if not rest:
        return first
    *middle, last = rest
    return first + b"".join(b"(?>.*?%b)" % each for each in middle if each) + b".*" + last


def _choice(pattern: bytes, at: int) -> tuple[bytes, int]:
    """What stands between brackets, and where it ends. Without its closing bracket it ends with the pattern."""
    negative = pattern[at : at + 1] == b"^"
    at += negative
    some = set[int]()
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            some.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            some.update(range(low, high + 1))
            at += 3
        else:
            some.add(pattern[at])
            at += 1
    listed = b"".join(b"\\x%02x" % each for each in sorted(some))
    if not listed:
        return (b"." if negative else b"(?!)"), at + 1
    return b"[%b%b]" % (b"^" if negative else b"", listed), at + 1
