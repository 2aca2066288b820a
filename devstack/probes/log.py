"""Has it printed a certain line? For programs that cannot be asked anything else.

Only the last output is searched (some KiB), without its colours. A program that prints much at once after the line can hide it from us,
so a port or a command is the better question where there is one.
"""

from __future__ import annotations

import re

from devstack.core.health import Answer, Health, Subject

_COLOURS = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")


async def ask(subject: Subject, pattern: str) -> Answer:
    """Ready when the regular expression `pattern` is found in one line of the output."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        return Answer(Health.UNKNOWN, f'"{pattern}" is not a regular expression: {error}', "correct the log probe")
    for line in _COLOURS.sub(b"", subject.tail()).decode("utf-8", "replace").splitlines():
        if match := wanted.search(line):
            return Answer(Health.READY, f'printed "{(match[0] or line).strip()[:60]}"')
    return Answer(Health.NOT_YET, f'has not printed "{pattern}" yet')
