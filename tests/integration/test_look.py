"""What the options of the stream change, and that they change nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from devstack.runtime.output import Look
from tests.support.stage import Stage, child
from tests.support.up import devstack

WEB = child("web", "print('from web')")
WORKERS = child("worker", "print('from worker')", instances=2)


@pytest.mark.parametrize(
    ("look", "shown"),
    [
        (Look(only=frozenset({"web"})), {"web.1"}),
        (Look(only=frozenset({"worker"})), {"worker.1", "worker.2"}),
        (Look(only=frozenset({"worker.2", "web"})), {"worker.2", "web.1"}),
        (Look(hidden=frozenset({"web"})), {"worker.1", "worker.2"}),
        (Look(hidden=frozenset({"worker.1"})), {"web.1", "worker.2"}),
        (Look(only=frozenset({"worker"}), hidden=frozenset({"worker.1"})), {"worker.2"}),
    ],
)
def test_only_what_was_asked_for_is_shown_and_everything_is_logged(look: Look, shown: set[str], tmp_path: Path) -> None:
    stage = Stage(WEB, WORKERS, look=look, logs=tmp_path)
    assert stage.play() == 0
    assert {name for name in ("web.1", "worker.1", "worker.2") if re.search(rf"{name} +\| from", stage.text)} == shown
    assert "web.1 is done" in stage.text, "our own words are always shown"
    assert all((tmp_path / f"{name}.log").read_bytes().count(b"from") for name in ("web.1", "worker.1", "worker.2"))


@pytest.mark.parametrize(("colour", "end"), [(True, "\x1b[0m"), (False, "")], ids=["terminal", "file"])
def test_without_prefix_the_bytes_are_the_processs_own(colour: bool, end: str) -> None:
    """On a terminal an open colour must not go on in the next process's line."""
    stage = Stage(child("web", r"print('\033[31mred'); print('plain')"), look=Look(prefix=False, colour=colour))
    stage.play()
    assert f"\n\x1b[31mred{end}\nplain\n" in "\n" + stage.text


def test_json_is_one_object_a_line_whatever_comes() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a \"quote\"\n\xff\0\n\nhalf'); sys.stdout.flush()"
    stage = Stage(child("web", code), look=Look(as_json=True))
    assert stage.play() == 0
    rows = [json.loads(line) for line in stage.text.splitlines()]
    assert [row["text"] for row in rows if row["process"] == "web.1"] == ['a "quote"', "\ufffd\0", "", "half"]
    assert all(isinstance(row["time"], float) for row in rows)
    assert any(row["process"] == "devstack" for row in rows)


@pytest.mark.parametrize("option", ["--only", "-q"])
def test_a_name_that_no_process_has_is_an_error(option: str, tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: true\nworker: true\n")
    ended = devstack(tmp_path, "up", option, "web,wroker")
    assert ended.returncode == 2
    assert 'there is no process "wroker"' in ended.stderr
    assert 'did you mean "worker"' in ended.stderr
