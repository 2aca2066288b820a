"""Which program a wrapped command runs, and that what is kept in front of it still runs it."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.kinds.wrappers import Unwrapped, unwrap

CELERY = ["celery", "-A", "shop", "worker"]


@pytest.mark.parametrize(
    "wrapper",
    [
        "uv run",
        "uv run --",
        "uv run --no-sync --group dev --env-file .env -p 3.12",
        "uv --directory backend run --with=x",
        "/usr/local/bin/uv run",
        "poetry run",
        "poetry -C backend run",
        "pipenv run",
        "pdm run -p .",
        "rye run",
        "hatch -e dev run",
        "env",
        "env -u DEBUG A=1 B='two words'",
        "nice",
        "nice -n 10",
        "nice -n10",
        "time -p",
        "nohup",
        "dotenv run --",
        "dotenv -f .env.dev run --no-override",
        "doppler run --project shop --",
        "op run --env-file=.env --",
        "ddtrace-run",
        "newrelic-admin run-program",
        "env A=1 uv run nice",
        "",
    ],
)
def test_a_wrapper_is_kept_in_front_of_the_program(wrapper: str) -> None:
    prefix = shlex.split(wrapper)
    assert unwrap([*prefix, *CELERY]) == Unwrapped(prefix, CELERY)


@pytest.mark.parametrize(
    ("line", "reloader"),
    [
        ("watchmedo auto-restart --directory=./ --pattern=*.py --recursive -- celery -A shop worker", "watchmedo"),
        ("watchmedo auto-restart -d . -p '*.py;*.html' -R --signal SIGINT celery -A shop worker", "watchmedo"),
        ("watchfiles --filter python 'celery -A shop worker'", "watchfiles"),
        ("watchfiles --ignore-paths a,b --verbose 'celery -A shop worker' src tests", "watchfiles"),
        ("watchfiles 'watchmedo auto-restart -- celery -A shop worker'", "watchfiles"),
    ],
)
def test_a_reloader_is_left_out_and_named(line: str, reloader: str) -> None:
    assert unwrap(shlex.split(line)) == Unwrapped([], CELERY, reloader)


def test_wrappers_may_stand_around_and_inside_a_reloader() -> None:
    assert unwrap(shlex.split("uv run watchfiles 'env A=1 celery -A shop worker'")) == Unwrapped(
        ["uv", "run", "env", "A=1"], CELERY, "watchfiles"
    )


def test_a_module_that_uv_runs_is_run_by_python() -> None:
    assert unwrap(shlex.split("uv run -m celery worker")) == Unwrapped(
        ["uv", "run"], ["python", "-m", "celery", "worker"]
    )


@pytest.mark.parametrize(
    "line",
    [
        "python -m celery worker",
        "watchfiles shop.main",
        "watchfiles shop.main src --filter python",
        "watchmedo shell-command --command 'echo' .",
        'watchfiles "unclosed \' quote"',
        "uv sync",
        "uv",
        "uv run",
        "env A=1",
        "poetry install",
        "doppler run celery",
        "dotenv list",
        "watchmedo auto-restart -d",
    ],
)
def test_what_wraps_no_command_is_the_program_itself(line: str) -> None:
    words = shlex.split(line)
    assert unwrap(words) == Unwrapped([], words)


def test_a_dotted_target_is_a_command_when_said_so() -> None:
    assert unwrap(shlex.split("watchfiles --target-type command my.program")).argv == ["my.program"]


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(shlex.split("uv run -m -- env A=1 watchfiles celery watchmedo auto-restart dotenv -f nice \\'"))
    )
)
def test_no_words_are_lost_or_invented_without_a_reloader(words: list[str]) -> None:
    found = unwrap(words)
    if not found.reloader and "-m" not in words:
        assert found.prefix + found.argv == words
