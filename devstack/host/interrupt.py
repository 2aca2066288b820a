"""Ctrl-C for the console of another process: `python -I -S interrupt.py PID …`; the first of them whose console can be entered counts.

A program of its own, since a process has one console at a time: whoever enters another one leaves its own.

Rule 1: exit code 0 when it was sent, else 1: then nobody was asked anything.
Rule 2: standard library only, and little of it: a person waits.

Source: https://learn.microsoft.com/windows/console/generateconsolectrlevent: Ctrl-C goes to all that share a console; it cannot be limited
to a process group. So each process that we start has a console of its own, without a window, with its descendants.
"""

from __future__ import annotations

import sys

CTRL_C, ALL = 0, 0


def main() -> int:
    if sys.platform != "win32":
        return 1
    import ctypes

    kernel = ctypes.WinDLL("kernel32")
    kernel.FreeConsole()
    if not any(kernel.AttachConsole(int(pid)) for pid in sys.argv[1:]):
        return 1
    kernel.SetConsoleCtrlHandler(None, True)  # not for ourselves
    return 0 if kernel.GenerateConsoleCtrlEvent(CTRL_C, ALL) else 1


if __name__ == "__main__":
    sys.exit(main())
