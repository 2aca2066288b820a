"""Has it printed a certain line? For programs that cannot be asked anything else.

The output is searched as it comes (`Search`, in the child's own stream), without its colours, so that nothing printed behind the line can
hide it.
"""

from __future__ import annotations

import re

from devstack.core.health import Answer, Health, Subject

_COLOURS = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")

PRINTED = "printed"
"""The type of the message that stands in the beacon once the line has come."""
LONGEST_LINE = 64 * 1024


class Search:
    """Looks for `pattern` in the lines of a stream; one that is no regular expression is never found (`ask` says so)."""

    def __init__(self, pattern: str) -> None:
        try:
            self._wanted: re.Pattern[str] | None = re.compile(pattern)
        except re.error:
            self._wanted = None
        self._rest = b""

    def feed(self, chunk: bytes) -> str:
        """The text that matched first, in or before this chunk; "" until then."""
        if self._wanted is None:
            return ""
        *_, self._rest = (text := self._rest + chunk).rpartition(b"\n")
        self._rest = self._rest[-LONGEST_LINE:]
        for line in _COLOURS.sub(b"", text).decode("utf-8", "replace").splitlines():
            if match := self._wanted.search(line):
                return _shown(match, line)
        return ""


async def ask(subject: Subject, pattern: str) -> Answer:
    """Ready when the regular expression `pattern` is found in one line of the output."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        return Answer(Health.UNKNOWN, f'"{pattern}" is not a regular expression: {error}', "correct the log probe")
    if isinstance(printed := subject.beacon.get(PRINTED, {}).get("text"), str):
        return Answer(Health.READY, f'printed "{printed}"')
    for line in _COLOURS.sub(b"", subject.tail()).decode("utf-8", "replace").splitlines():
        if match := wanted.search(line):
            return Answer(Health.READY, f'printed "{_shown(match, line)}"')
    return Answer(Health.NOT_YET, f'has not printed "{pattern}" yet')


def _shown(match: re.Match[str], line: str) -> str:
    return (match[0] or line).strip()[:60]
