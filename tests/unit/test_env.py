""".env files: python-dotenv's reading, the source of each value, and what is said about bad ones."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from devstack.config import env
from devstack.config.env import EnvFile
from devstack.errors import DevstackError


def read(
    tmp_path: Path, content: str | bytes, environ: dict[str, str] | None = None, overrides: bool = False
) -> EnvFile:
    path = tmp_path / ".env"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return env.read([(path, ".env")], environ or {}, overrides)


def refused(tmp_path: Path, content: str) -> DevstackError:
    with pytest.raises(DevstackError) as caught:
        read(tmp_path, content)
    return caught.value


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=hello world", "hello world"),
        ('A={"k": "v"}', '{"k": "v"}'),
        (r"A=C:\Users\me", r"C:\Users\me"),
        ("A=it's", "it's"),
        ("A=", ""),
        ("export A=b", "b"),
        ("A=b#c", "b#c"),
        ("A=b # c", "b"),
        ("A='b # c'", "b # c"),
        (r'A="b\nc"', "b\nc"),
        (r"A='b\nc'", r"b\nc"),
        ('A="b\nc"', "b\nc"),
        ("A = b", "b"),
        ("A=$HOME", "$HOME"),
    ],
)
def test_a_value_is_read_as_python_dotenv_reads_it(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path, line).values == {"A": value}
    assert dotenv_values(stream=io.StringIO(line), interpolate=False) == {"A": value}


def test_a_value_knows_its_file_and_line(tmp_path: Path) -> None:
    found = read(tmp_path, "\n# comment\n\nA=1\nB='x\ny'\n\nC=2\n")
    assert found.sources == {"A": ".env:4", "B": ".env:5", "C": ".env:8"}


def test_bom_and_crlf_change_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfA=1\r\nB='x\r\ny'\r\n").values == {"A": "1", "B": "x\ny"}


def test_a_braced_name_sees_earlier_lines_and_the_environment(tmp_path: Path) -> None:
    content = "A=file\nB=${A}-${C}-${D:-none}\n"
    assert read(tmp_path, content, {"C": "real"}).values["B"] == "file-real-none"
    assert read(tmp_path, content, {"A": "real"}).values["B"] == "real--none"
    assert read(tmp_path, content, {"A": "real"}, overrides=True).values["B"] == "file--none"


def test_a_later_file_wins_and_sees_the_earlier(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A=1\nB=1\n")
    (tmp_path / "b").write_text("B=2${A}\n")
    found = env.read([(tmp_path / "a", "a"), (tmp_path / "b", "b")], {})
    assert found.values == {"A": "1", "B": "21"}
    assert found.sources == {"A": "a:1", "B": "b:1"}


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="does not exist"):
        env.read([(tmp_path / "nowhere", "nowhere")], {})


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ('OK=1\nA="never\nB=2\n', 2, 'the " of A is never closed'),
        ("A='it's\n", 1, "something stands behind the closing ' of A"),
        ("A='never\n", 1, "the ' of A is never closed"),
        ('\n\nA="x" y\n', 3, 'something stands behind the closing " of A'),
        ("A B=1\n", 1, '"A B" is not the name of a variable'),
        ("OK=1\n=1\n", 2, '"=1" is not a variable'),
        ("OK=1\nnot a variable\n", 2, '"not a variable" is not a variable'),
    ],
)
def test_a_bad_line_is_an_error_with_its_number(tmp_path: Path, content: str, line: int, what: str) -> None:
    error = refused(tmp_path, content)
    assert (error.where, error.what) == (f".env:{line}", what)
    assert error.fix


def test_all_bad_lines_are_said_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, "A B=1\nC D=2\n")
    assert error.what == "2 lines are wrong"
    assert "line 2:" in error.why


def test_a_name_without_a_value_is_left_out_with_a_word(tmp_path: Path) -> None:
    found = read(tmp_path, "A\nB=1\n")
    assert found.values == {"B": "1"}
    assert found.notes == [".env:1: A has no = and is left out"]


def test_a_windows_path_in_double_quotes_is_noted(tmp_path: Path) -> None:
    assert "single quotes" in read(tmp_path, 'A="C:\\new\\table"').notes[0]
    assert not read(tmp_path, 'A=\'C:\\new\'\nB=C:\\new\nC="C:/new"\nD="C:\\\\new"\n').notes


def test_a_value_that_swallows_other_lines_is_noted(tmp_path: Path) -> None:
    found = read(tmp_path, 'A="x\nB=1\nC=2"\nD=3\n')
    assert list(found.values) == ["A", "D"]
    assert "lines 1 to 3" in found.notes[0]


@given(st.text())
def test_any_text_is_read_as_dotenv_reads_it_or_refused_with_a_sentence(content: str) -> None:
    found = EnvFile()
    problem = None
    try:
        env.parse(content, ".env", {}, False, found)
    except DevstackError as error:
        problem = error
    if problem:
        assert problem.where.startswith(".env:")
    else:
        theirs = dotenv_values(stream=io.StringIO(content), interpolate=False)
        assert set(found.values) == {name for name, value in theirs.items() if value is not None}
