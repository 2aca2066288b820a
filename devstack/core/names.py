"""How things are called: exit codes, durations, lists of names."""

from __future__ import annotations

from collections.abc import Iterable

OURS = "devstack"
"""Who speaks when it is no process: its prefix, and the name of its log."""

# POSIX numbers; written out because `signal` lists only those of the system it runs on.
SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
    11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
}  # fmt: skip
CONTROL_C_EXIT = 0xC000013A
"""STATUS_CONTROL_C_EXIT: what Windows reports for a program that Ctrl-C ended."""


def exit_sentence(code: int) -> str:
    """`exited 3`, `was killed by SIGKILL`: what a child's exit code (negative for a signal) says."""
    if code < 0:
        return f"was killed by {SIGNALS.get(-code, f'signal {-code}')}"
    if code & 0xFFFFFFFF == CONTROL_C_EXIT:
        return "was ended by Ctrl-C"
    return f"exited {code}"


def exit_code(code: int) -> int:
    """What we exit with when a child failed with `code`: a signal becomes 128 + its number, as in a shell. Never 0."""
    if code < 0:
        return 128 - code
    return code if 0 < code < 256 else 1


def seconds(value: float) -> str:
    """`40 ms`, `3.2 s`, `12 s`, `4 min`: precise while it is short."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def listing(names: Iterable[str]) -> str:
    """`web`, `web and worker`, `web, worker and beat`."""
    *most, last = list(names) or [""]
    return f"{', '.join(most)} and {last}" if most else last
