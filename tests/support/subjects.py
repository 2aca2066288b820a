"""A Subject for a probe to ask about."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from devstack.core.health import Subject
from devstack.core.model import Launch


def subject(
    *,
    pids: set[int] | None = None,
    tail: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | str = ".",
    pid: int | None = None,
    argv: tuple[str, ...] = ("program",),
    stdin: bytes | None = None,
) -> Subject:
    launch = Launch(argv, os.environ if env is None else env, str(cwd), stdin=stdin)
    return Subject("it.1", 1, pid, launch, time.monotonic(), tail=lambda: tail, pids=lambda: pids or set())
