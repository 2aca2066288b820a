"""A log file as the stack writes it, without a stack."""

from __future__ import annotations

import time
from pathlib import Path

from devstack.runtime.logfile import Clock, LogFile, Marker


class Logged:
    def __init__(self, path: Path, size: int, count: int) -> None:
        self._file = LogFile(path, size, count)
        self._marker = Marker(Clock())

    def write(self, *chunks: bytes, moment: float | None = None) -> None:
        """All of them at once."""
        came = time.time() if moment is None else moment
        self._file.write([part for chunk in filter(None, chunks) for part in self._marker.mark(chunk, came)])

    def close(self) -> None:
        self._file.close()
