"""Job objects: what Windows has for a process with all its descendants.

Rule 1: the handle is ours alone and is not inherited: when it is closed, also because we were killed, the system ends what is in the job.
Rule 2: a process is put into its job before its first instruction, so that no child of it can have been born outside.
"""

from __future__ import annotations

import ctypes
import ntpath
import sys
import threading
from ctypes import wintypes

assert sys.platform == "win32"

KILL_ON_JOB_CLOSE = 0x2000
BASIC_PROCESS_ID_LIST, EXTENDED_LIMIT_INFORMATION = 3, 9
PROCESS_TERMINATE, PROCESS_SET_QUOTA, PROCESS_SUSPEND_RESUME, PROCESS_QUERY_LIMITED = 0x1, 0x100, 0x800, 0x1000
CURRENT_PROCESS = -1
MORE_DATA = 234
KILLED = 1
"""The exit code of what we end."""
CONSOLE = "conhost.exe"
"""The system's own part of a console; under wine it counts among the processes of a job."""

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_nt = ctypes.WinDLL("ntdll")
for _function, _result, _arguments in (
    (_kernel.CreateJobObjectW, wintypes.HANDLE, (ctypes.c_void_p, wintypes.LPCWSTR)),
    (_kernel.SetInformationJobObject, wintypes.BOOL, (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD)),
    (
        _kernel.QueryInformationJobObject,
        wintypes.BOOL,
        (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p),
    ),
    (_kernel.AssignProcessToJobObject, wintypes.BOOL, (wintypes.HANDLE, wintypes.HANDLE)),
    (_kernel.TerminateJobObject, wintypes.BOOL, (wintypes.HANDLE, wintypes.UINT)),
    (_kernel.OpenProcess, wintypes.HANDLE, (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)),
    (
        _kernel.QueryFullProcessImageNameW,
        wintypes.BOOL,
        (wintypes.HANDLE, wintypes.DWORD, wintypes.LPWSTR, ctypes.POINTER(wintypes.DWORD)),
    ),
    (_kernel.CloseHandle, wintypes.BOOL, (wintypes.HANDLE,)),
    (_nt.NtResumeProcess, wintypes.LONG, (wintypes.HANDLE,)),
):
    _function.restype, _function.argtypes = _result, _arguments


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, its two inner structures laid out flat."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", wintypes.DWORD),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("active_processes", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority", wintypes.DWORD),
        ("scheduling", wintypes.DWORD),
        ("counters", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    )


class Job:
    """OSError when the system gives us none. Safe to use from several threads; once closed it is empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: int | None = _kernel.CreateJobObjectW(None, None)
        if not self._handle:
            raise _error()
        limits = _Limits(flags=KILL_ON_JOB_CLOSE)
        if not _kernel.SetInformationJobObject(
            self._handle, EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        ):
            error = _error()
            self.close()
            raise error

    def start(self, pid: int) -> None:
        """Take in a process that was created suspended, and let it run. OSError when it cannot be had: then it is ended."""
        process = _opened(pid, PROCESS_TERMINATE | PROCESS_SET_QUOTA | PROCESS_SUSPEND_RESUME)
        try:
            if not _kernel.AssignProcessToJobObject(self._handle, process):
                error = _error()
                _kernel.TerminateProcess(wintypes.HANDLE(process), KILLED)
                raise error
            _nt.NtResumeProcess(process)
        finally:
            _kernel.CloseHandle(process)

    def take_ourselves(self) -> None:
        """From now on our children belong to it too, from the moment of their creation. It must never be closed."""
        if not _kernel.AssignProcessToJobObject(self._handle, CURRENT_PROCESS):
            raise _error()

    def pids(self) -> list[int]:
        """The processes that live in it."""
        room = 32
        while True:
            found = (ctypes.c_size_t * (room + 1))()  # two numbers of 32 bits, then the pids
            with self._lock:
                if self._handle is None:
                    return []
                done = _kernel.QueryInformationJobObject(
                    self._handle, BASIC_PROCESS_ID_LIST, ctypes.byref(found), ctypes.sizeof(found), None
                )
                code = ctypes.get_last_error()
            count = wintypes.DWORD.from_buffer(found, 4).value
            first = 8 // ctypes.sizeof(ctypes.c_size_t)
            if done:
                return [pid for pid in found[first : first + count] if not _is_console(pid)]
            if code != MORE_DATA:
                return []
            room *= 4

    def kill(self) -> None:
        with self._lock:
            if self._handle is not None:
                _kernel.TerminateJobObject(self._handle, KILLED)

    def close(self) -> None:
        """Let go of it; what is still in it ends."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            _kernel.CloseHandle(handle)


def _opened(pid: int, rights: int) -> int:
    handle: int | None = _kernel.OpenProcess(rights, False, pid)
    if not handle:
        raise _error()
    return handle


def _is_console(pid: int) -> bool:
    try:
        process = _opened(pid, PROCESS_QUERY_LIMITED)
    except OSError:
        return False
    try:
        name, size = ctypes.create_unicode_buffer(1024), wintypes.DWORD(1024)
        _kernel.QueryFullProcessImageNameW(process, 0, name, ctypes.byref(size))
        return ntpath.basename(name.value).lower() == CONSOLE
    finally:
        _kernel.CloseHandle(process)


def _error() -> OSError:
    return ctypes.WinError(ctypes.get_last_error())
