"""Passwords are masked wherever devstack prints an address or a variable."""

from __future__ import annotations

import re

MASK = "***"
_PASSWORD = re.compile(
    r"(?P<start>\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#'\"@:]*):(?P<password>[^\s'\"]*?)(?=@[^\s@'\"]*(?:[\s'\"]|$))"
)
_PARAMETER = re.compile(
    r"(?i)(?P<start>[?&;](?:password|passwd|secret|token|api_?key|access_?key|signature)=)[^&;#\s'\"]+"
)
_SECRET_NAME = re.compile(
    r"(?i)(passw|secret|token|api_?key|private|credential|_key$|^key$|(^|_)(pass|pwd|auth|dsn|salt)(_|$))"
)
_ASSIGNMENT = re.compile(r"(?<![\w?&;-])(?P<name>[A-Za-z_]\w*)=(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\"&;]+)")
_OPTION = re.compile(
    r"(?i)(?P<start>--?[a-z-]*(?:passw(?:or)?d|secret|token|basic[-_]auth|requirepass|api-?key)[ =]+)(?P<value>\S+)"
)


def mask(text: str) -> str:
    """`text` with the passwords of its addresses (redis://:secret@host), parameters and options replaced by ***."""
    text = _PASSWORD.sub(lambda match: f"{match['start']}:{MASK}", text)
    text = _PARAMETER.sub(lambda match: f"{match['start']}{MASK}", text)
    text = _ASSIGNMENT.sub(lambda match: f"{match['name']}={mask_value(match['name'], match['value'])}", text)
    return _OPTION.sub(lambda match: f"{match['start']}{MASK}", text)


def mask_value(name: str, value: str) -> str:
    """The value of a variable as it may be shown: nothing of it when its name says that it is a secret."""
    return MASK if value and _SECRET_NAME.search(name) else mask(value)
