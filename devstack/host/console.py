"""Our own console on Windows, and Ctrl-C for the consoles of our children.

Rule 1: what we change for our output (UTF-8, colours) is put back in the end: the console belongs to the shell that we were started from.
Rule 2: nobody waits in the loop for a Ctrl-C to be sent; where it cannot be, `failed` is called.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from ctypes import wintypes
from pathlib import Path

assert sys.platform == "win32"

PROGRAM = Path(__file__).with_name("interrupt.py")
SENT_WITHIN = 10.0
STDOUT, STDERR = -11, -12
VIRTUAL_TERMINAL = 4
UTF8 = 65001
CLOSE, LOGOFF, SHUTDOWN = 2, 5, 6

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.GetStdHandle.restype = wintypes.HANDLE
_kernel.GetConsoleMode.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD))
_kernel.SetConsoleMode.argtypes = (wintypes.HANDLE, wintypes.DWORD)
_Handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
_handlers: list[object] = []
"""The system calls them for as long as we live."""


def interrupt(pids: Sequence[int], failed: Callable[[], None]) -> None:
    """Send Ctrl-C to the console that these processes share; from a thread of its own."""
    threading.Thread(target=_interrupt, args=(pids, failed), name="interrupt", daemon=True).start()


def _interrupt(pids: Sequence[int], failed: Callable[[], None]) -> None:
    if not press_ctrl_c(pids):
        failed()


def press_ctrl_c(pids: Sequence[int]) -> bool:
    """Whether it was sent to the console that these processes share."""
    # The base interpreter: that of a venv starts another process, and -I -S: no site-packages.
    python = getattr(sys, "_base_executable", None) or sys.executable
    command = [python, "-I", "-S", str(PROGRAM), *map(str, pids)]
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,
            timeout=SENT_WITHIN,
        )
        return ran.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def hear_ctrl_c() -> None:
    """Ctrl-C counts for us and for what we start from now on, also when whoever started us had it ignored."""
    _kernel.SetConsoleCtrlHandler(None, False)


def on_close(tell: Callable[[], None]) -> None:
    """Call `tell`, in a thread, when the window is closed, the user logs off, or the machine is shut down.

    The system ends us some 5 seconds later (https://learn.microsoft.com/windows/console/handlerroutine); at once, if the handler returned.
    """

    def handle(event: int) -> bool:
        if event not in (CLOSE, LOGOFF, SHUTDOWN):
            return False
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving anyway
            tell()
        threading.Event().wait()
        return True

    handler = _Handler(handle)
    _handlers.append(handler)
    _kernel.SetConsoleCtrlHandler(handler, True)


def dress() -> None:
    """What we write is UTF-8 with colours; without effect where nothing of ours is a console."""
    for number in (STDOUT, STDERR):
        handle, mode = _kernel.GetStdHandle(number), wintypes.DWORD()
        if _kernel.GetConsoleMode(handle, ctypes.byref(mode)) and not mode.value & VIRTUAL_TERMINAL:
            _kernel.SetConsoleMode(handle, mode.value | VIRTUAL_TERMINAL)
            atexit.register(_kernel.SetConsoleMode, handle, mode.value)
    page = _kernel.GetConsoleOutputCP()
    if page and page != UTF8:
        _kernel.SetConsoleOutputCP(UTF8)
        atexit.register(_kernel.SetConsoleOutputCP, page)
