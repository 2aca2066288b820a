"""What processes use: one look at the whole process table, since asking tree by tree would walk it once for each."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping

Table = Mapping[int, tuple[int, float, int]]
"""For each process id: its parent, the seconds of CPU it has had, the bytes of memory it holds."""


def table() -> Table:
    """Blocks for some milliseconds."""
    if sys.platform == "win32" or not os.path.isdir("/proc/self"):
        return _by_psutil()
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
            # pid (name) state ppid …; the name can hold anything, a ")" too.
            rest = file.read().rpartition(b")")[2].split()
            found[int(entry)] = (int(rest[1]), (int(rest[11]) + int(rest[12])) / tick, int(rest[21]) * page)
    return found


def trees(known: Table, roots: Iterable[int]) -> set[int]:
    """The processes that are there of `roots` and all that descend from them."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in known.items():
        children.setdefault(parent, []).append(pid)
    found, ahead = set(), [pid for pid in roots if pid in known]
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += children.get(pid, [])
    return found


def _by_psutil() -> Table:
    import psutil

    found = {}
    for process in psutil.process_iter(["ppid", "cpu_times", "memory_info"]):
        cpu, memory = process.info["cpu_times"], process.info["memory_info"]
        if cpu and memory:
            found[process.pid] = (process.info["ppid"] or 0, cpu.user + cpu.system, memory.rss)
    return found
