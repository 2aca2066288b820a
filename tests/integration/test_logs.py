"""Log files: the bytes once more, each line with its moment, rotated."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from devstack.runtime import logs as log_files
from devstack.runtime.logfile import Clock
from devstack.runtime.logs import Logs
from tests.support.logged import Logged
from tests.support.redis_server import eventually
from tests.support.stage import Stage, child

STAMP = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ", re.MULTILINE)


def unstamped(path: Path) -> bytes:
    return STAMP.sub(b"", path.read_bytes())


def test_every_byte_is_in_the_file_once_with_the_moment_of_its_line(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a\0\xff\r\n\nb\rc\n' + b'no newline')"
    stage = Stage(child("web", code), logs=tmp_path)

    assert stage.play() == 0

    raw = (tmp_path / "web.1.log").read_bytes()
    assert len(STAMP.findall(raw)) == 4
    assert unstamped(tmp_path / "web.1.log") == b"a\0\xff\r\n\nb\rc\nno newline\n"


def test_a_prompt_that_was_shown_early_stays_one_line_in_the_file(tmp_path: Path) -> None:
    ask = child(
        "ask", "printf 'name? '; while [ ! -e go ]; do sleep 0.05; done; echo Ada", shell=True, cwd=str(tmp_path)
    )
    stage = Stage(ask, logs=tmp_path)

    async def script(stage: Stage) -> None:
        await stage.until(r"name\? ")
        (tmp_path / "go").touch()

    assert stage.play(script) == 0
    assert unstamped(tmp_path / "ask.1.log") == b"name? Ada\n"


def test_our_own_words_are_logged_without_passwords(tmp_path: Path) -> None:
    stage = Stage(child("web", "print('x')"), logs=tmp_path)

    async def script(stage: Stage) -> None:
        stage.output.say("broker redis://:hunter2@127.0.0.1/0")

    stage.play(script)
    log = unstamped(tmp_path / "devstack.log")
    assert b"broker redis://" in log
    assert b"hunter2" not in log


def test_a_full_file_is_begun_anew_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "web.1.log"
    file = Logged(path, size=100, count=3)
    for n in range(20):
        file.write(f"line {n} {'x' * 40}\n".encode())
    file.close()

    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["web.1.log", "web.1.log.1", "web.1.log.2"]
    kept = b"".join(unstamped(tmp_path / name) for name in ("web.1.log.2", "web.1.log.1", "web.1.log"))
    numbers = [int(line.split()[1]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 20)), "nothing is missing between the files, and the newest is there"


def test_no_file_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ext4 would write it to the disk at once."""
    taken: list[str] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        taken.extend([target.name] * target.exists())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    file = Logged(tmp_path / "log", size=10, count=3)
    for n in range(10):
        file.write(b"line %d\n" % n)
    file.close()
    assert len(list(tmp_path.iterdir())) == 3
    assert taken == []


@pytest.mark.parametrize("read", [0, 1, 2])
def test_one_that_somebody_reads_on_windows_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    """There it cannot be renamed meanwhile."""
    names = ["log", "log.1", "log.2", "log.3"]
    file = Logged(tmp_path / "log", size=1, count=4)
    for n in range(4):
        file.write(b"%d\n" % n)
    replace = os.replace

    def stubborn(source: Path, target: Path) -> None:
        if source.name == names[read]:
            raise PermissionError
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stubborn)
        for n in range(4, 7):
            file.write(b"%d\n" % n)
    file.write(b"7\n")
    file.close()
    kept = b"".join(unstamped(tmp_path / name) for name in reversed(names))
    assert kept == b"1\n2\n3\n4\n5\n6\n7\n"


def test_no_line_is_split_between_two_files(tmp_path: Path) -> None:
    file = Logged(tmp_path / "log", size=10, count=2)
    file.write(b"first half, ")
    file.write(b"second half\n")
    file.write(b"next\n")
    file.close()
    assert unstamped(tmp_path / "log.1") == b"first half, second half\n"
    assert unstamped(tmp_path / "log") == b"next\n"


def test_what_comes_at_once_is_in_files_of_the_same_size(tmp_path: Path) -> None:
    """Also when it is in more pieces than one call writes."""
    lines = [b"%04d %s\n" % (n, b"x" * 70) for n in range(5000)]
    file = Logged(tmp_path / "log", size=50_000, count=20)
    file.write(*lines[:10], *(line[k:][:30] for line in lines[10:] for k in (0, 30, 60)))
    file.close()

    older = [tmp_path / f"log.{n}" for n in range(len(list(tmp_path.iterdir())) - 1, 0, -1)]
    assert [50_000 <= each.stat().st_size < 50_100 for each in older] == [True] * 9
    assert b"".join(map(unstamped, [*older, tmp_path / "log"])) == b"".join(lines)


def test_the_moment_is_that_of_the_line_whatever_the_second() -> None:
    clock = Clock()
    stamps = [clock.stamp(moment) for moment in (1_795_000_000.9996, 1_795_000_001.0, 1_794_999_999.5)]
    texts = [stamp[17:].decode() for stamp in stamps]
    assert texts == ["40.999 ", "41.000 ", "39.500 "]


def test_a_stream_without_a_pause_is_in_its_file_while_it_goes_on(tmp_path: Path) -> None:
    code = "import time\nwhile True: print('x', flush=True); time.sleep(0.002)"
    stage = Stage(child("web", code), logs=tmp_path)
    written: list[bool] = []

    async def script(stage: Stage) -> None:
        for times in range(100, 3000, 100):
            await stage.until(r"\| x", times)
            written.append((tmp_path / "web.1.log").exists() and (tmp_path / "web.1.log").stat().st_size > 0)
            if written[-1]:
                break
        stage.supervisor.leave()

    stage.play(script)
    assert written[-1]


def test_one_file_is_enough_when_no_older_ones_are_wanted(tmp_path: Path) -> None:
    file = Logged(tmp_path / "log", size=1, count=1)
    file.write(b"one\n")
    file.write(b"two\n")
    file.close()
    assert [each.name for each in tmp_path.iterdir()] == ["log"]
    assert unstamped(tmp_path / "log") == b"two\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full")
def test_a_full_disk_is_said_once_and_the_stream_goes_on(tmp_path: Path) -> None:
    (tmp_path / "web.1.log").symlink_to("/dev/full")
    stage = Stage(child("web", "for n in range(3000): print(n)"), logs=tmp_path)

    assert stage.play() == 0

    assert stage.lines("web.1") == [str(n) for n in range(3000)]
    assert stage.text.count("web.1 is not logged any more") == 1
    assert "No space left on device" in stage.text


@pytest.mark.skipif(sys.platform == "win32", reason="there nobody can remove what is open")
def test_a_file_that_somebody_removes_is_begun_anew_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "log"
    path.parent.mkdir()
    file = Logged(path, size=1000, count=3)
    file.write(b"one\n")
    shutil.rmtree(path.parent)
    file.write(b"two\n")
    file.write(b"three\n")
    file.close()
    assert unstamped(path) == b"two\nthree\n"


def test_a_directory_that_is_gone_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    logs = Logs(tmp_path / "gone", 100, 2, said.append)
    logs.write("web.1", b"x\n")
    logs.write("web.1", b"y\n")
    assert len(said) == 1


def test_what_can_be_written_again_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    path = tmp_path / "gone" / "web.1.log"
    logs = Logs(path.parent, 1000, 2, said.append)
    logs.write("web.1", b"lost\nhalf ")
    path.parent.mkdir()
    logs.write("web.1", b"too soon: ")
    with monkeypatch.context() as later:
        later.setattr(time, "monotonic", lambda: float("inf"))
        logs.write("web.1", b"a line\n")
    logs.write("web.1", b"next\n")

    gap = r"what came since \d\d:\d\d:\d\d is missing: No such file or directory"
    assert re.fullmatch(f"devstack: {gap}\na line\nnext\n", unstamped(path).decode())
    assert len(STAMP.findall(path.read_bytes())) == 3
    assert said[0] == f"web.1 is not logged any more: {path}: No such file or directory"
    assert re.fullmatch(f"web.1 is logged again; {gap}", said[1])
    assert len(said) == 2


def test_a_line_that_was_cut_off_stays_a_line_of_its_own(tmp_path: Path) -> None:
    """devstack was killed while it wrote, or the disk was full."""
    (tmp_path / "log").write_bytes(b"2026-11-22 06:00:00.000 half a l")
    file = Logged(tmp_path / "log", size=1000, count=2)
    file.write(b"next\n")
    file.close()
    assert unstamped(tmp_path / "log") == b"half a l\nnext\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a FIFO that nobody reads stands for a disk that hangs")
def test_a_disk_that_hangs_holds_up_neither_the_stream_nor_the_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "web.1.log")
    stage = Stage(child("web", "print('seen', flush=True); import signal; signal.pause()"), logs=tmp_path)

    async def script(stage: Stage) -> None:
        await stage.until("seen")
        stage.supervisor.leave()

    try:
        stage.play(script)
        assert stage.lines("web.1") == ["seen"]
    finally:
        os.close(os.open(tmp_path / "web.1.log", os.O_RDONLY | os.O_NONBLOCK))  # lets the thread go


def test_when_the_disk_does_not_keep_up_the_pipes_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "web.1.log")
    stage = Stage(child("web", "for n in range(200000): print(f'{n:060d}')"), logs=tmp_path)
    written: list[bytes] = []

    def read() -> None:
        with (tmp_path / "web.1.log").open("rb") as file:
            written.append(STAMP.sub(b"", file.read()))

    disk = threading.Thread(target=read, daemon=True)

    async def script(stage: Stage) -> None:
        await stage.full.wait()
        assert stage.logs
        assert stage.logs.full
        disk.start()

    stage.play(script)
    disk.join(10)
    expected = [b"%060d" % n for n in range(200000)]
    assert [line.encode() for line in stage.lines("web.1")] == expected
    assert written[0].split() == expected


class Overtaken(Logs):
    """Its thread has always written everything when the loop has just found out that it was too much."""

    times = 0

    @property
    def _unwritten(self) -> int:
        found = super()._unwritten
        if found > log_files.HIGH_WATER and threading.current_thread() is not self._thread:
            self.times += 1
            self._come.set()
            eventually(lambda: self._done == self._received and not self._come.is_set(), "file")
        return found


def test_the_pipes_go_on_also_when_the_disk_was_quicker_than_their_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "HIGH_WATER", 3000)
    monkeypatch.setattr(log_files, "ENOUGH", 1500)
    lines = [b"%06d %s\n" % (n, b"x" * 1000) for n in range(100)]
    logs = Overtaken(tmp_path, 100_000_000, 1, pytest.fail)

    async def play() -> None:
        may = asyncio.Event()
        logs.open(may.clear, may.set)
        may.set()
        for line in lines:
            await asyncio.wait_for(may.wait(), 15)
            logs.write("web.1", line)
        logs.close()

    asyncio.run(play())
    assert logs.times
    assert unstamped(tmp_path / "web.1.log") == b"".join(lines)
