"""Files that others look into while we write them.

Rule: on Windows a file that somebody has open (a virus scanner, an indexer, a reader of ours) cannot be replaced for a moment; then it is
tried again, for PATIENCE seconds.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

PATIENCE = 2.5
BUSY = (5, 32, 33)
"""ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION."""


def replace(source: Path, target: Path) -> None:
    """`os.replace`, which nobody sees half done. Blocks; OSError when it stays impossible."""
    until, pause = time.monotonic() + PATIENCE, 0.01
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if not _passes(error) or time.monotonic() > until:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


def held(file: BinaryIO) -> BinaryIO | None:
    """The same file once more, to be read also when it has been removed. None on Windows, where nobody could rename it meanwhile."""
    return None if sys.platform == "win32" else os.fdopen(os.dup(file.fileno()), "rb")


def _passes(error: OSError) -> bool:
    return sys.platform == "win32" and error.winerror in BUSY
