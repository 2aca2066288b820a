"""Whether saved Python code compiles, and the words for it when it does not.

Rule 1: only what surely fails is refused. What we cannot judge (too much, too deep) is left to the new process; the old one stays until
that has proved itself.
Rule 2: this runs in a thread, and the compiler lets nobody else run: hence the limits.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devstack.core.names import listing

LARGEST = 256 * 1024
"""Bytes of a file that is compiled: 25 ms or so."""
TOGETHER = 0.1
"""Seconds spent on one batch; what is left of it then is not judged."""
MARK = "devstack-saved:"
"""Begins the names under which files are compiled, so that a filter can tell the warnings about them from all others."""
WIDEST = 160


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a file does not compile. `line` and `column` count from 1, and are 0 when they are not known."""

    why: str
    line: int = 0
    column: int = 0
    text: str = ""


def check(sources: Mapping[str, bytes]) -> dict[str, Fault]:
    """The faults, by path."""
    # The compiler warns of odd code. The new process does that too, where it can be read.
    warnings.filterwarnings("ignore", module=MARK)
    began, faults = time.monotonic(), {}
    for path, source in sources.items():
        if time.monotonic() - began > TOGETHER:
            break
        if fault := fault_of(source, path):
            faults[path] = fault
    return faults


def fault_of(source: bytes, path: str = "") -> Fault | None:
    if len(source) > LARGEST:
        return None
    try:
        compile(source, MARK + path, "exec", dont_inherit=True)
    except SyntaxError as error:
        text = error.text if isinstance(error.text, str) else ""
        return Fault(f"{type(error).__name__}: {error.msg}", error.lineno or 0, error.offset or 0, text)
    except ValueError as error:  # a null byte, in some versions
        return Fault(f"SyntaxError: {error}")
    except (RecursionError, MemoryError, OverflowError):
        return None
    return None


def place(shown: str, fault: Fault) -> str:
    return f"{shown}:{fault.line}" if fault.line else shown


def frame(shown: str, fault: Fault, names: Iterable[str], kept: bool) -> str:
    """The error for the file that is `shown` so, and because of which `names` are not reloaded; `kept` when some of them run."""
    lines = [
        f"error: {listing(names)} not reloaded: {shown} does not compile  ({place(shown, fault)})",
        f"  why: {fault.why.replace(MARK, '')}",
        *_excerpt(fault),
    ]
    lines.append(f"  {'the old code keeps running; ' if kept else ''}the next save tries again")
    return "\n".join(lines)


def _excerpt(fault: Fault) -> list[str]:
    """The line, and a caret below the place."""
    text = fault.text.split("\n")[0].rstrip()
    indent = len(text) - len(text.lstrip())
    column = min(fault.column - 1, len(text)) - indent
    start = max(0, column - WIDEST // 2)
    shown = text[indent:][start : start + WIDEST]
    if not shown or not fault.line:
        return []
    # A stray control character must do nothing to the terminal; a tab keeps its width in both lines.
    shown = "".join(each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in shown)
    margin = f"    {fault.line} | "
    lines = [margin + shown]
    if column >= 0:
        below = "".join(each if each == "\t" else " " for each in shown[: column - start])
        lines.append(" " * (len(margin) - 2) + "| " + below + "^")
    return lines
