"""What counts as a file worth a look, and the words for code that does not compile."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from devstack.runtime import syntax
from devstack.runtime.watched import Pattern
from devstack.runtime.watcher import git_lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on POSIX")


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("**/*.html", ["a.html", "b/a.html", "b/c/a.html"], ["a.htm", "b/a.html/c"]),
        ("*.html", ["a.html", ".html"], ["b/a.html"]),
        ("b/**", ["b/a", "b/c/a.txt"], ["a", "c/b/a"]),
        ("b/**/a", ["b/a", "b/x/y/a"], ["b/x/y/ab", "a"]),
        ("[ab].y?ml", ["a.yaml", "b.yxml"], ["c.yaml", "a.yml"]),
        ("[!a].x", ["b.x"], ["a.x"]),
        ("[[]1].x", ["[1].x"], ["1.x"]),
        ("a+(b).x", ["a+(b).x"], ["aab.x"]),
        ("", [], ["a", "b/a"]),
    ],
)
def test_a_pattern_matches_as_in_a_shell(glob: str, matching: list[str], others: list[str]) -> None:
    pattern = Pattern("/p", glob)
    assert [each for each in (*matching, *others) if pattern.matches(f"/p/{each}")] == matching
    assert not [each for each in matching if pattern.matches(f"/q/{each}") or pattern.matches(f"/pp/{each}")]


def test_gits_lock_is_found_in_a_checkout_a_worktree_and_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "a" / "deep").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".git").write_text("gitdir: ../a/.git/worktrees/b\n")
    assert git_lock(tmp_path / "a" / "deep") == str(tmp_path / "a" / ".git" / "index.lock")
    assert git_lock(tmp_path / "b") == str(tmp_path / "b" / "../a/.git/worktrees/b" / "index.lock")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".git").write_bytes(b"\xff\0")
    assert git_lock(tmp_path / "c") == git_lock(tmp_path)


def test_the_frame_points_at_the_place_within_a_long_line() -> None:
    source = b"x = (" + b"1 + " * 300 + b"* 2)\n"
    fault = syntax.fault_of(source)
    assert fault
    *_, line, caret, last = syntax.frame("a.py", fault, ["worker.1"], kept=False).splitlines()
    assert len(line) <= syntax.WIDEST + 12
    assert line[caret.index("^")] == "*"
    assert last == "  the next save tries again"


def test_a_fault_without_a_place_has_a_frame_too() -> None:
    frame = syntax.frame("a.py", syntax.Fault("SyntaxError: odd"), ["worker.1", "beat.1"], kept=True)
    assert frame.splitlines() == [
        "error: worker.1 and beat.1 not reloaded: a.py does not compile  (a.py)",
        "  why: SyntaxError: odd",
        "  the old code keeps running; the next save tries again",
    ]


def test_warnings_of_the_compiler_are_neither_faults_nor_shown() -> None:
    sources = {"/p/a.py": b"x = 1 is 1\n", "/p/b.py": b"x = '\\d'\n", "/p/c.py": b"assert (1, 'x')\n"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert syntax.check(sources) == {}
        warnings.warn("of somebody else", stacklevel=1)
    assert [str(each.message) for each in caught] == ["of somebody else"]
