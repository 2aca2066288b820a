"""What processes write is what comes out: whole lines, every byte once, in order, whatever they write and whoever writes beside them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.up import DEADLINE, MARK, kill_all, marked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="reads /proc and a POSIX pipe")

MEGABYTE = 1024 * 1024
FLAT = 64
"""Megabytes that devstack may take, whatever comes."""
EURO = "€".encode()

INPUTS: dict[str, list[bytes]] = {
    "ten_megabytes": [b"<" + b"x" * (10 * MEGABYTE) + b">\nafter\n"],
    "no_newline": [b"first\nlast, without a newline"],
    "twenty_thousand": [b"".join(b"line %d\n" % n for n in range(20_000))],
    "nul": [b"a\0b\n\0\n"],
    "invalid": [b"\xff\xfe\xc3(\x80\n\xf0\x9f\n"],
    "cut_character": [b"5 " + EURO[:1], EURO[1:2], EURO[2:] + b" each\n"],
    "bars": [b"10 %\r", b"20 %\r100 %\r\n", b"done\n"],
    "blank": [b"\n\n", b"between\n\n\n"],
    "separators": ["a\x0bb\x0cc\x1cd\x85e\u2028f\n".encode()],
    "spaces": [b"  in front, behind  \t\n\t\n"],
    "half_lines": [piece for n in range(20) for piece in (b"<%d" % n, b">\n")],
}
"""What a process writes, one write after the other, with a moment between them: longer than a read, shorter than a prompt takes."""
WRITER = """
import os, sys, time
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        data = file.read()
    while data:
        data = data[os.write(1, data):]
    time.sleep(0.03)
"""
PYTHON = shlex.quote(sys.executable)


@contextmanager
def running(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`devstack up`, its output in the hands of the test. Nothing stays."""
    mark = os.urandom(8).hex()
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("DEVSTACK", "PORT", "FORCE_COLOR"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "devstack", "up", "--no-watch", *arguments],
        cwd=directory,
        env=env | {"DEVSTACK_STATE_DIR": str(directory / "state"), MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        kill_all(marked(mark))
        assert process.stdout
        process.stdout.close()


def test_every_input_comes_out_byte_for_byte_while_all_others_write(tmp_path: Path) -> None:
    rows = []
    for name, pieces in INPUTS.items():
        files = []
        for number, piece in enumerate(pieces):
            files.append(f"{name}-{number}")
            (tmp_path / files[-1]).write_bytes(piece)
        rows.append(f"{name}: {PYTHON} writer.py {' '.join(files)}\n")
    (tmp_path / "writer.py").write_text(WRITER)
    (tmp_path / "Procfile").write_text("".join(rows))

    with running(tmp_path, "--no-timestamps") as up:
        text, _ = up.communicate(timeout=DEADLINE)

    assert up.returncode == 0
    came: dict[str, list[bytes]] = {name: [] for name in INPUTS}
    for line in text.split(b"\n"):
        name, _, rest = line.partition(b" | ")
        if (known := name.decode().strip().removesuffix(".1")) in came:
            came[known].append(rest + b"\n")
    wanted = {name: b"".join(pieces) for name, pieces in INPUTS.items()}
    wanted = {name: data if data.endswith(b"\n") else data + b"\n" for name, data in wanted.items()}
    assert [name for name in INPUTS if b"".join(came[name]) != wanted[name]] == []


def test_a_reader_that_stalls_costs_no_memory_and_holds_up_no_end(tmp_path: Path) -> None:
    flood = f"{PYTHON} -c \"while True: print('x' * 999)\"\n"
    (tmp_path / "Procfile").write_text("".join(f"flood{n}: {flood}" for n in range(4)))

    with running(tmp_path) as up:
        _until_nobody_writes(up.pid)
        assert _peak(up.pid) < FLAT
        up.terminate()
        assert up.wait(DEADLINE) == 143


def test_a_burst_costs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "burst").write_bytes((b"x" * 99 + b"\n") * (50 * MEGABYTE // 400))
    (tmp_path / "Procfile").write_text("".join(f"p{n}: cat burst && exec sleep 600\n" for n in range(4)))

    with running(tmp_path) as up:
        assert up.stdout
        lines, last = 0, b""
        while lines < 4 * (50 * MEGABYTE // 400):
            chunk = os.read(up.stdout.fileno(), MEGABYTE)
            assert chunk, "it has ended"
            lines += (last + chunk).count(b"x\n")  # which may come in two reads
            last = chunk[-1:]
        assert _peak(up.pid) < FLAT


@pytest.mark.soak
@pytest.mark.parametrize("count", [1, 4, 16, 50])
def test_a_million_lines_at_full_speed_are_all_there_in_order(count: int, tmp_path: Path) -> None:
    each = 1_000_000 // count
    for n in range(count):
        (tmp_path / f"lines{n}").write_bytes(b"".join(b"p%02d %07d %s\n" % (n, k, b"x" * 80) for k in range(each)))
    (tmp_path / "Procfile").write_text("".join(f"p{n}: cat lines{n}\n" for n in range(count)))

    with running(tmp_path, "--no-timestamps") as up:
        assert up.stdout
        seen = [0] * count
        for line in up.stdout:
            name, bar, text = line.partition(b" | ")
            assert bar, line
            if name.startswith(b"devstack"):
                continue
            n = int(name.strip()[1:-2])
            assert text == b"p%02d %07d %s\n" % (n, seen[n], b"x" * 80)
            seen[n] += 1
        assert up.wait(DEADLINE) == 0
    assert seen == [each] * count


def _peak(pid: int) -> float:
    """The most memory that it has had, in megabytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def _until_nobody_writes(pid: int) -> None:
    """Until the processes have written something, and do no more."""
    deadline, before = time.monotonic() + DEADLINE, -1
    while (now := _written(pid)) != before or now < MEGABYTE:
        assert time.monotonic() < deadline, "it never comes to rest"
        before = now
        time.sleep(0.3)


def _written(pid: int) -> int:
    total = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found = re.search(r"wchar: (\d+)", Path(f"/proc/{child}/io").read_text())
        total += int(found[1]) if found else 0
    return total
