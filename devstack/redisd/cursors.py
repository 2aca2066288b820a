"""SCAN and its like: a cursor walks over the list of names as it was when it began.

Rule 1: what is there from the beginning to the end is given exactly once.
Rule 2: a walk that nobody finishes is forgotten when sixty-four others have begun.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from devstack.redisd.numbers import integer
from devstack.redisd.patterns import matcher
from devstack.redisd.protocol import SYNTAX, Failure

_MOST = 64


@dataclass(slots=True)
class Options:
    matches: Callable[[bytes], bool] = field(default=lambda text: True)
    count: int = 10
    type: bytes = b""
    values: bool = True


class Cursors:
    def __init__(self) -> None:
        self._walks: OrderedDict[int, Sequence[bytes]] = OrderedDict()
        self._last = 0

    def walk(self, cursor: bytes, names: Callable[[], Iterable[bytes]], count: int) -> tuple[int, Sequence[bytes]]:
        """The next cursor (0: the end) and so many names; some may be gone meanwhile."""
        if not cursor.isdigit() or int(cursor) >= 2**64:
            raise Failure(b"ERR invalid cursor")
        number, place = divmod(int(cursor), 2**32)
        if not number:
            all_names = list(names())
            if len(all_names) <= count:
                return 0, all_names
            self._last = number = self._last % 2**30 + 1
            self._walks[number] = all_names
            if len(self._walks) > _MOST:
                self._walks.popitem(last=False)
        walk = self._walks.get(number, ())
        part = walk[place : place + count]
        if place + count >= len(walk):
            self._walks.pop(number, None)
            return 0, part
        self._walks.move_to_end(number)
        return number * 2**32 + place + count, part


def options(words: Sequence[bytes], *, type: bool = False, values: bool = False) -> Options:
    """MATCH, COUNT and, where they may be said, TYPE and NOVALUES."""
    found, rest = Options(), list(words)
    while rest:
        name = rest.pop(0).upper()
        if name == b"NOVALUES" and values:
            found.values = False
            continue
        if not rest or name not in (b"MATCH", b"COUNT", b"TYPE") or (name == b"TYPE" and not type):
            raise SYNTAX
        value = rest.pop(0)
        if name == b"MATCH":
            found.matches = matcher(value)
        elif name == b"TYPE":
            found.type = value.lower()
        else:
            count = integer(value)
            if count is None:
                raise Failure(b"ERR value is not an integer or out of range")
            if count < 1:
                raise SYNTAX
            found.count = count
    return found
