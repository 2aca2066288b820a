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
        ("watchmedo auto-restart -d . -p '*.py' -R celery -- -A shop worker", "watchmedo"),
        ("python -m watchdog.watchmedo auto-restart -R -- celery -A shop worker", "watchmedo"),
        ("python3 -um watchfiles --filter python 'celery -A shop worker'", "watchfiles"),
        (".venv/bin/python .venv/bin/watchfiles 'celery -A shop worker'", "watchfiles"),
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
        "watchfiles shop.main --args 'a b'",
        "watchfiles celery.__main__.main",
        'watchfiles celery.__main__.main --args "unclosed \' quote"',
        "watchfiles --target-type function celery",
        "python -m watchfiles shop.main",
        "python -c 'import watchfiles'",
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


@pytest.mark.parametrize("line", ["--target-type command my.program", "my.program src --target-type=command"])
def test_a_dotted_target_is_a_command_when_said_so(line: str) -> None:
    assert unwrap(["watchfiles", *shlex.split(line)]).argv == ["my.program"]


@pytest.mark.parametrize(
    ("line", "prefix", "python"),
    [
        ("watchfiles --filter python {}", [], ["python"]),
        ("watchfiles --filter=python --target-type function {} src", [], ["python"]),
        ("uv run watchfiles {}", ["uv", "run"], ["python"]),
        (".venv/bin/python -um watchfiles {}", [], [".venv/bin/python", "-u"]),
    ],
)
def test_the_main_function_of_a_package_is_the_package_run_by_python(
    line: str, prefix: list[str], python: list[str]
) -> None:
    """The line of cookiecutter-django."""
    words = shlex.split(line.format("celery.__main__.main --args '-A config.celery_app worker -l INFO -c 1'"))
    command = [*python, "-m", "celery", "-A", "config.celery_app", "worker", "-l", "INFO", "-c", "1"]
    assert unwrap(words) == Unwrapped(prefix, command, "watchfiles")


def test_only_the_first_dashes_are_those_of_watchmedo() -> None:
    assert unwrap(shlex.split("watchmedo auto-restart -- npm run dev -- --host")).argv[-2:] == ["--", "--host"]
    assert unwrap(shlex.split("watchmedo auto-restart npm -- run dev -- --host")).argv[-2:] == ["--", "--host"]


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            shlex.split("uv run -m -- env A=1 python watchfiles celery watchmedo auto-restart dotenv -f nice \\'")
        )
    )
)
def test_no_words_are_lost_or_invented_without_a_reloader(words: list[str]) -> None:
    found = unwrap(words)
    if not found.reloader and "-m" not in words:
        assert found.prefix + found.argv == words
