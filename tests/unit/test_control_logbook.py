"""The log files read back: entries, their order, rotation, and what is still being written."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from devstack.control.logbook import Cutter, Entry, Log, merged, names
from tests.support.logged import Logged

TRACEBACK = """\
[2026-11-21 05:39:06,123: ERROR/ForkPoolWorker-2] Task shop.pay[3f2a] raised unexpected: KeyError('total')
Traceback (most recent call last):
  File "shop/tasks.py", line 14, in pay
    return basket["total"]
           ~~~~~~^^^^^^^^^
KeyError: 'total'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "shop/tasks.py", line 16, in pay
    raise ValueError
ValueError
"""


def entries(text: str) -> list[tuple[bytes, ...]]:
    cutter = Cutter("web.1")
    stamped = [b"2026-11-21 05:39:06.123 " + line.encode() for line in text.splitlines()]
    return [each.lines for each in [*cutter.feed(stamped), *cutter.take()]]


def log(directory: Path, name: str, *lines: str, start: float = 1_795_000_000.0, size: int = 10**9) -> None:
    file = Logged(directory / f"{name}.log", size, 100)
    for number, line in enumerate(lines):
        file.write(f"{line}\n".encode(), moment=start + number)
    file.close()


def texts(found: Iterable[Entry]) -> list[str]:
    return [line.decode() for each in found for line in each.lines]


def test_a_traceback_is_one_entry_with_the_line_that_announces_it_and_all_that_caused_it() -> None:
    found = entries(f"before\n{TRACEBACK}after\n")
    assert found == [(b"before",), tuple(TRACEBACK.encode().splitlines()), (b"after",)]


def test_what_is_indented_belongs_to_the_line_above_and_nothing_else_does() -> None:
    assert entries("a\n  b\n\tc\nd\n\ne\n") == [(b"a", b"  b", b"\tc"), (b"d",), (b"",), (b"e",)]


def test_one_entry_does_not_grow_for_ever() -> None:
    assert max(map(len, entries("a\n" + "  b\n" * 10_000))) <= 2000


def test_the_level_is_that_of_the_first_line_and_a_traceback_is_an_error() -> None:
    def level(text: str) -> int:
        return Entry("web.1", b"", tuple(text.encode().splitlines())).level

    assert level("[2026-11-21: WARNING/MainProcess] slow\n  INFO") == 30
    assert level("nothing special, no ERRORS") == 0
    assert level("oops\nTraceback (most recent call last):\n  x") == 40


def test_several_processes_are_merged_by_their_moments_and_never_within_an_entry(tmp_path: Path) -> None:
    log(tmp_path, "web.1", "w0", *TRACEBACK.splitlines(), "w9")
    log(tmp_path, "worker.1", *(f"k{n}" for n in range(20)))
    found = texts(merged(Log(tmp_path, name).history() for name in names(tmp_path)))
    start = found.index(TRACEBACK.splitlines()[0])
    assert found[start : start + 13] == TRACEBACK.splitlines()
    assert [each for each in found if each.startswith("k")] == [f"k{n}" for n in range(20)]
    assert len(found) == 35


def test_rotated_files_come_first_and_the_tail_needs_no_more_of_them_than_it_takes(tmp_path: Path) -> None:
    lines = [f"line {n}" for n in range(1000)]
    log(tmp_path, "web.1", *lines, size=1000)
    assert (tmp_path / "web.1.log.5").exists()
    assert texts(Log(tmp_path, "web.1").history()) == lines
    found = texts(Log(tmp_path, "web.1").tail(50))
    assert found == lines[-len(found) :]
    assert 50 <= len(found) < 150


def test_the_tail_of_a_long_file_is_its_end(tmp_path: Path) -> None:
    lines = ["x" * 100 + f" {n}" for n in range(30_000)]
    log(tmp_path, "web.1", *lines)
    found = texts(Log(tmp_path, "web.1").tail(10))
    assert found == lines[-len(found) :]
    assert 10 <= len(found) < 20_000
    assert texts(Log(tmp_path, "web.1").tail(29_999)) == lines


def test_every_line_that_is_written_later_is_read_once_whatever_is_rotated_meanwhile(tmp_path: Path) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        directory = tmp_path / str(seed)
        directory.mkdir()
        file = Logged(directory / "web.1.log", 300, 100)
        file.write(b"old\n")
        book, written, found = Log(directory, "web.1"), ["old"], []
        found += texts(book.tail(10) if rng.random() < 0.5 else book.history())
        for number in range(100):
            text = f"line {number} " + "y" * rng.randint(0, 30)
            cut = rng.randint(0, len(text))
            file.write(text[:cut].encode())
            if rng.random() < 0.3:
                found += texts(book.news())
            file.write(text[cut:].encode() + b"\n")
            written.append(text)
            if rng.random() < 0.2:
                found += texts(book.news())
        found += texts(book.news())
        file.close()
        assert found == written, seed


@pytest.mark.skipif(os.name != "posix", reason="what somebody reads there cannot be rotated")
@pytest.mark.parametrize("first", ["tail", "history"])
def test_the_end_of_a_file_that_nobody_keeps_is_read_by_who_has_read_its_beginning(tmp_path: Path, first: str) -> None:
    file, book, found = Logged(tmp_path / "web.1.log", 100, 1), Log(tmp_path, "web.1"), []
    file.write(b"line 0\n")
    found += texts(book.tail(10) if first == "tail" else book.history())
    for number in range(1, 20):
        file.write(b"line %d\n" % number)
        if number % 3 == 0:
            found += texts(book.news())
    found += texts(book.news())
    file.close()
    assert found == [f"line {number}" for number in range(20)]


def test_who_reads_too_late_knows_that_lines_may_be_missing(tmp_path: Path) -> None:
    file, book, overtaken = Logged(tmp_path / "web.1.log", 40, 3), Log(tmp_path, "web.1"), []
    file.write(b"line 0\n")
    assert texts(book.history()) == ["line 0"]
    for count in (1, 2, 1, 10, 0, 1):
        for _ in range(count):
            file.write(b"x" * 40 + b"\n")
        assert len(texts(book.news())) == min(count, 3)
        overtaken.append(book.overtaken)
    file.close()
    assert overtaken == [False, False, False, True, False, False]


def test_a_traceback_that_is_still_being_written_waits_for_its_end(tmp_path: Path) -> None:
    file, lines = Logged(tmp_path / "web.1.log", 10**6, 3), TRACEBACK.encode().splitlines(keepends=True)
    file.write(b"before\n")
    book = Log(tmp_path, "web.1")
    assert texts(book.tail(5)) == ["before"]
    for line in lines[:4]:
        file.write(line)
    assert texts(book.news()) == []
    for line in lines[4:]:
        file.write(line)
    assert texts(book.news()) == TRACEBACK.splitlines()
    file.close()


def test_nothing_is_there_before_anything_has_run(tmp_path: Path) -> None:
    assert names(tmp_path / "nowhere") == []
    assert [*Log(tmp_path, "web.1").history(), *Log(tmp_path, "web.1").tail(3), *Log(tmp_path, "web.1").news()] == []


def test_files_of_others_and_bytes_of_any_kind_do_no_harm(tmp_path: Path) -> None:
    rng = random.Random(1)
    (tmp_path / "web.1.log").write_bytes(rng.randbytes(100_000) + b"\n" + b"short\n\n")
    (tmp_path / "notes.txt").write_text("not ours")
    assert names(tmp_path) == ["web.1"]
    for entry in Log(tmp_path, "web.1").history():
        assert entry.time >= 0
        assert entry.level >= 0
