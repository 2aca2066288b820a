"""`devstack up` without click means what it means with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.cli import plain, session
from devstack.cli.up import up
from devstack.config.options import Options
from devstack.core.record import replace
from devstack.host.guard import Guard
from devstack.runtime.output import Look

Asked = tuple[Options, Look, bool]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Asked]:
    """What would have been run."""
    for name in ("DEVSTACK_STATE_DIR", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    found: list[Asked] = []

    def run(options: Options, look: Look, guard: Guard, take_over: bool = False) -> None:
        found.append((replace(options, run=""), look, take_over))

    monkeypatch.setattr(session, "run", run)
    return found


@pytest.mark.parametrize(
    "words", [[], ["web"], ["web", "worker"], ["-f", "Procfile.dev"], ["web", "-f", "p", "beat"], ["-f", "a b"]]
)
def test_the_short_way_and_the_long_way_ask_for_the_same(words: list[str], asked: list[Asked]) -> None:
    plain.up(["up", *words])
    up.main(words, standalone_mode=False)
    short, long = asked
    # click says how each option was called; without one, its own name is what messages show.
    assert (replace(short[0], sources={}), *short[1:]) == (replace(long[0], sources={}), *long[1:])
    assert short[0].source("procfile") == long[0].source("procfile")


def test_colours_are_those_that_the_environment_wants(asked: list[Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    plain.up(["up"])
    assert asked[0][0].colour
    assert asked[0][1].colour


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ps"],
        ["--debug", "up"],
        ["up", "--no-watch"],
        ["up", "-q", "web"],
        ["up", "-fProcfile"],
        ["up", "-f"],
        ["up", "web", "-f"],
        ["up", "-f", ""],
        ["up", "-f", "-"],
        ["up", "-f", "a", "-f", "b"],
        ["up", "--", "web"],
        ["up", ""],
    ],
)
def test_everything_else_is_left_to_click(words: list[str], asked: list[Asked]) -> None:
    plain.up(words)
    assert asked == []


def test_a_variable_that_stands_for_an_option_is_left_to_click(
    asked: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSTACK_PORT", "7000")
    plain.up(["up"])
    assert asked == []
    up.main([], standalone_mode=False)
    assert asked[0][0].port == 7000
