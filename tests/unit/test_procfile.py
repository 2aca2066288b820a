"""The Procfile's grammar, and what is said about lines that do not follow it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from honcho.environ import parse_procfile
from hypothesis import given
from hypothesis import strategies as st

from devstack.config import procfile, text
from devstack.errors import DevstackError


def commands(content: str) -> dict[str, str]:
    return {entry.name: entry.command for entry in procfile.parse(content)[0]}


def refused(content: str) -> DevstackError:
    with pytest.raises(DevstackError) as caught:
        procfile.parse(content)
    return caught.value


def from_bytes(tmp_path: Path, data: bytes) -> dict[str, str]:
    path = tmp_path / "Procfile"
    path.write_bytes(data)
    return commands(text.read(path, "Procfile"))


def test_a_line_is_a_name_and_a_command() -> None:
    assert commands("web: gunicorn shop\nworker:celery -A shop worker\n") == {
        "web": "gunicorn shop",
        "worker": "celery -A shop worker",
    }


def test_names_may_begin_with_a_digit_or_a_hyphen() -> None:
    assert list(commands("2web: a\n-x: b\nA_b-9: c")) == ["2web", "-x", "A_b-9"]


def test_an_inline_hash_belongs_to_the_command_and_a_first_one_makes_a_comment() -> None:
    assert commands("# about: this\nweb: run # fast\n") == {"web": "run # fast"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_bom_line_ends_and_a_missing_last_newline_change_nothing(tmp_path: Path, end: str) -> None:
    data = "\ufeff" + end.join(["web: a", "", "worker: b"])
    assert from_bytes(tmp_path, data.encode()) == {"web": "a", "worker": "b"}


def test_only_line_ends_end_a_line(tmp_path: Path) -> None:
    assert from_bytes(tmp_path, "web: a\x0cb\u0085c\n".encode()) == {"web": "a\x0cb\u0085c"}


def test_an_entry_knows_its_line_and_its_place_among_the_processes() -> None:
    entries, _ = procfile.parse("# first\n\nweb: a\nbeat: b\n", "Procfile.dev")
    assert [(entry.number, entry.index, entry.where) for entry in entries] == [
        (3, 0, "Procfile.dev:3"),
        (4, 1, "Procfile.dev:4"),
    ]


def test_names_that_stand_twice_are_named_with_both_lines() -> None:
    error = refused("web: a\nworker: b\nworker: c\n")
    assert (error.where, error.what) == ("Procfile:3", '"worker" is already in line 2')
    assert "worker=2" in error.fix


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("web : gunicorn shop", "web: gunicorn shop"),
        ("  web: gunicorn shop", "start the line with the name"),
        ("web.1: run", "web-1: run"),
        ("büro: run", "b-ro: run"),
        (": run", "web: run"),
        ("DEBUG=1", ".env"),
        ("export DEBUG=1", ".env"),
        ("python manage.py runserver", "NAME: python manage.py runserver"),
        ("web:", "web: COMMAND"),
        ("web:    ", "web: COMMAND"),
    ],
)
def test_an_odd_line_is_named_with_how_to_write_it(line: str, fix: str) -> None:
    error = refused(f"ok: run\n{line}\n")
    assert error.where == "Procfile:2"
    assert fix in error.fix


def test_merge_conflict_markers_are_called_by_their_name() -> None:
    error = refused("web: a\n<<<<<<< HEAD\nworker: b\n=======\nworker: c\n>>>>>>> other\nbeat: d\n")
    assert error.where == "Procfile:2"
    assert "merge conflict" in error.what
    assert "lines 2 to 6" in error.what


def test_all_that_is_wrong_is_said_in_one_error() -> None:
    error = refused("web : a\nok: b\nok: c\n")
    assert error.what == "2 lines are wrong"
    assert "line 1:" in error.why
    assert "line 3:" in error.why


def test_a_continued_line_is_refused_once() -> None:
    error = refused("web: gunicorn \\\n  --bind x \\\n  --reload\nworker: b\n")
    assert error.where == "Procfile:1"
    assert "backslash" in error.what


@pytest.mark.parametrize("content", ["", "\n\n", "# web: later\n"])
def test_a_file_without_processes_is_refused(content: str) -> None:
    assert "no process" in refused(content).what


def test_a_second_name_in_front_of_the_command_is_noted() -> None:
    entries, notes = procfile.parse("celery:high: celery -A shop worker\nredis:redis-server x://y: z\n")
    assert entries[0].command == "high: celery -A shop worker"
    assert len(notes) == 1
    assert "celery-high: celery -A shop worker" in notes[0]


def test_quotes_around_a_whole_command_are_left_out_with_a_word() -> None:
    entries, notes = procfile.parse('web: "gunicorn shop"\nredis: \'C:\\Program Files\\redis.exe\'\nx: "a b" "c"\n')
    assert [entry.command for entry in entries] == ["gunicorn shop", "'C:\\Program Files\\redis.exe'", '"a b" "c"']
    assert len(notes) == 1
    assert notes[0].startswith("Procfile:1:")


def test_utf_16_is_called_by_its_name(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        with pytest.raises(DevstackError, match="UTF-16"):
            from_bytes(tmp_path, "web: gunicorn shop\n".encode(encoding))


def test_other_bytes_are_refused_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="not UTF-8") as caught:
        from_bytes(tmp_path, b"web: a\nworker: caf\xe9\n")
    assert caught.value.where == "Procfile:2"
    with pytest.raises(DevstackError, match="not a text file"):
        from_bytes(tmp_path, b"\x7fELF\x01\x01 and some text so that it is not all zeros \x00\n")


def test_a_directory_is_not_a_procfile(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="is a directory"):
        text.read(tmp_path, "Procfile")


def problem(call: Callable[[], object]) -> DevstackError | None:
    try:
        call()
    except DevstackError as error:
        return error
    return None


@given(st.text())
def test_any_text_is_read_or_refused_with_its_place(content: str) -> None:
    error = problem(lambda: procfile.parse(content))
    assert error is None or (error.what and error.where.startswith("Procfile"))


@given(st.binary())
def test_any_bytes_are_decoded_or_refused_with_their_place(data: bytes) -> None:
    error = problem(lambda: text.decode(data, "Procfile"))
    assert error is None or (error.what and error.where.startswith("Procfile"))


NAMES = st.text("ab1_-", min_size=1, max_size=3)
COMMANDS = (
    st.text("ab $#:'=.-/\t", min_size=1, max_size=8).map(str.strip).filter(lambda text: text and text[0] not in "\"'")
)


@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from([": ", ":", ":   "]), COMMANDS),
        min_size=1,
        max_size=5,
        unique_by=lambda each: each[0],
    )
)
def test_what_honcho_accepts_we_read_as_honcho_does(lines: list[tuple[str, str, str]]) -> None:
    content = "\n".join("".join(line) for line in lines)
    theirs = parse_procfile(content).processes
    ours, _ = procfile.parse(content)
    assert {entry.name: entry.command for entry in ours} == dict(theirs)
