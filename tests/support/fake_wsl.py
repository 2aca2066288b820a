"""A `wsl.exe` for machines that are no Windows: `fake_wsl.install(tmp_path / "bin")`, and that alone on PATH.

`wsl.exe -e …` runs a program as the real one is known to: not as its child in any respect, so that killing wsl.exe does not end it; what
comes in at its input is passed on, and the program's input ends when wsl.exe does. In `linux` lie the programs that can be run in there.
With a file `forgetful` beside it, the input does not end, as on a machine that keeps no promise.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import os, pathlib, subprocess, sys, threading
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
if words[0] != "-e" or not (here / "linux" / words[1]).exists():
    sys.stdout.buffer.write("CreateProcessCommon: execvpe failed: No such file or directory\\r\\n".encode("utf-16-le"))
    sys.exit(1)
reading, writing = os.pipe()
keep = [writing] if (here / "forgetful").exists() else []
child = subprocess.Popen(
    words[1:], stdin=reading, stdout=subprocess.PIPE, pass_fds=keep, start_new_session=True,
    executable=here / "linux" / words[1], env={{"PATH": str(here / "linux")}},
)
os.close(reading)
def relay():
    while data := os.read(0, 65536):
        os.write(writing, data)
    os.close(writing)
threading.Thread(target=relay, daemon=True).start()
while data := os.read(child.stdout.fileno(), 65536):
    os.write(1, data)
os._exit(child.wait() % 256)
"""


def install(directory: Path, server: str = "") -> Path:
    """`server` is the redis-server in there."""
    linux = directory / "linux"
    linux.mkdir(parents=True)
    program = directory / "wsl.exe"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    (linux / "sh").symlink_to("/bin/sh")
    if server:
        (linux / "redis-server").symlink_to(server)
    return directory


def calls(directory: Path) -> list[str]:
    return (directory / "calls").read_text().splitlines() if (directory / "calls").exists() else []
