"""Whether a spare can be forked: what a fork would share with it, and must not.

Threads end in a fork, sockets, pipes and files that are written to would have two owners, and so would shared memory and locks in it. What
cannot be seen from here: a library that has remembered its process, other than as a number called pid.

DEVSTACK_SPARES=spawned in the environment forbids it: then Linux does what the other systems do, for tests and measurements.
"""

import _thread
import os
import sys

ALWAYS_OPEN = 3


def why_not(pid: int, channel: int) -> str:
    """A sentence; empty when it can be forked. `channel` is our own line."""
    if os.environ.get("DEVSTACK_SPARES") == "spawned":
        return "DEVSTACK_SPARES says so"
    # Apple's frameworks do not survive a fork; elsewhere nobody tells what is open.
    if sys.platform != "linux":
        return "forks are not safe on this system"
    if sys.version_info < (3, 9) and sys.flags.dev_mode:
        return "this version of Python does not survive a fork with -X dev"
    if _thread._count():
        return "it has started a thread"
    if (
        len(os.listdir("/proc/self/task")) > 1 and "numpy" not in sys.modules
    ):  # OpenBLAS ends its threads before a fork.
        return "a library in it runs threads"
    if has_children():
        return "it has started another process"
    return open_files(channel) or shared_memory() or remembered(pid)


def open_files(channel: int) -> str:
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor < ALWAYS_OPEN or descriptor == channel:
            continue
        try:
            place = os.readlink("/proc/self/fd/" + name)
            with open("/proc/self/fdinfo/" + name, "rb") as file:  # As text it might load a codec.
                flags = int(file.read().split(b"flags:")[1].split()[0], 8)
        except OSError:
            continue  # The one that listed them.
        written = flags & 3 != os.O_RDONLY
        if written or place.startswith(("socket:", "pipe:", "anon_inode:")):
            return f"it holds {place} open"
    return ""


def shared_memory() -> str:
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            words = line.split(None, 5)
            if words[1].startswith(b"rw") and words[1].endswith(b"s"):
                return f"it shares memory ({os.fsdecode(words[-1].strip())})"
    return ""


def remembered(pid: int) -> str:
    for module, found in list(sys.modules.items()):
        names = found.__dict__ if isinstance(found, type(sys)) else {}
        for name, value in list(names.items()):
            if type(value) is int and value == pid and "pid" in name.lower():
                return f"{module} remembers the number of its process"
    return ""


def has_children() -> bool:
    if sys.platform != "linux":
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except OSError:
        return False
