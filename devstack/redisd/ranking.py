"""A sorted set: members with scores, in the order of score, then of bytes.

A dict finds a member's score, a sorted list finds a place by bisection. Inserting moves pointers, which for the 100,000 members of a
development machine takes microseconds; a skip list in Python would not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

_score = itemgetter(0)
_member = itemgetter(1)


@dataclass(frozen=True, slots=True)
class Limit:
    """One end of a range by score or, when `value` is bytes, by member. None: no end there."""

    value: float | bytes | None
    exclusive: bool = False


class Ranking:
    __slots__ = ("order", "scores")

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self.order: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[bytes, float]]:
        return ((member, score) for score, member in self.order)

    def copy(self) -> Ranking:
        other = Ranking()
        other.scores, other.order = self.scores.copy(), self.order.copy()
        return other

    def set(self, member: bytes, score: float) -> None:
        self.remove(member)
        self.scores[member] = score
        insort(self.order, (score, member))

    def remove(self, member: bytes) -> bool:
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self.order[bisect_left(self.order, (score, member))]
        return True

    def rank(self, member: bytes) -> int | None:
        score = self.scores.get(member)
        return None if score is None else bisect_left(self.order, (score, member))

    def between(self, low: Limit, high: Limit) -> range:
        """The places of the members within both limits. By member only where all scores are the same, as Redis has it."""
        first = 0
        if low.value is not None:
            key = _member if isinstance(low.value, bytes) else _score
            first = (bisect_right if low.exclusive else bisect_left)(self.order, low.value, key=key)
        last = len(self.order)
        if high.value is not None:
            key = _member if isinstance(high.value, bytes) else _score
            last = (bisect_left if high.exclusive else bisect_right)(self.order, high.value, key=key)
        return range(first, max(first, last))

    def at(self, places: range) -> list[tuple[bytes, float]]:
        return [(member, score) for score, member in (self.order[place] for place in places)]

    def cut(self, places: range) -> list[tuple[bytes, float]]:
        """Take the members at these neighbouring places out."""
        found = self.at(places)
        for member, _ in found:
            del self.scores[member]
        if places:
            low, high = min(places), max(places)
            del self.order[low : high + 1]
        return found
