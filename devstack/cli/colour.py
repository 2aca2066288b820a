"""Whether what we print is in colour."""

from __future__ import annotations

import os

STDOUT = 1


def wanted() -> bool:
    """The conventions: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, else whether a terminal reads."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") != "0" or os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    return os.isatty(STDOUT) and os.environ.get("TERM") != "dumb"
