"""What a suite measures: two sides of one metric, in seconds where no other unit is named."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar


@dataclass(frozen=True)
class Comparison:
    """`what` says in words what was timed; smaller is better."""

    metric: str
    what: str
    ours: list[float]
    peer: list[float]
    peer_name: str
    unit: ClassVar[str] = "s"

    @property
    def ratio(self) -> float:
        return median(self.ours) / median(self.peer)

    def figures(self) -> dict[str, float | str | int]:
        return {
            "ours": round(median(self.ours), 4),
            "peer": round(median(self.peer), 4),
            "peer_name": self.peer_name,
            "ratio": round(self.ratio, 4),
            "runs": min(len(self.ours), len(self.peer)),
        }

    def table(self) -> str:
        width = max(len("devstack"), len(self.peer_name))
        rows = [f"{self.metric}: {self.what}", f"{'':{width}}   MEDIAN      MIN      MAX  RUNS"]
        for name, times in (("devstack", self.ours), (self.peer_name, self.peer)):
            spread = f"{median(times):6.3f} {self.unit} {min(times):6.3f} {self.unit} {max(times):6.3f} {self.unit}"
            rows.append(f"{name:{width}} {spread}  {len(times):4}")
        return "\n".join([*rows, self.verdict()])

    def verdict(self) -> str:
        return f"ratio of the medians: {self.ratio:.2f}"


@dataclass(frozen=True)
class Race(Comparison):
    """Here the ratio says how many times as fast devstack is: their time / ours. `note`: what to know about the peer's times."""

    note: str = ""

    @property
    def ratio(self) -> float:
        return median(self.peer) / median(self.ours)

    def figures(self) -> dict[str, float | str | int]:
        return super().figures() | ({"note": self.note} if self.note else {})

    def verdict(self) -> str:
        return f"{self.note}\n" * bool(self.note) + f"their time / ours: {self.ratio:.2f}"
