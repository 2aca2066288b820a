from __future__ import annotations

import pytest

from devstack.errors import DevstackError
from devstack.kinds.wrappers import unwrap

WORKER = ["celery", "-A", "shop", "worker"]


@pytest.mark.parametrize(
    ("prefix", "reloader"),
    [
        ([], ""),
        (["uv", "run"], ""),
        (["uv", "run", "--extra", "dev", "--frozen", "--"], ""),
        (["poetry", "run"], ""),
        (["pipenv", "run"], ""),
        (["pdm", "run"], ""),
        (["hatch", "-e", "dev", "run"], ""),
        (["env", "-u", "X", "A=1", "B=2"], ""),
        (["nice", "-n", "5"], ""),
        (["dotenv", "-f", "x.env", "run", "--"], ""),
        (["/usr/bin/time", "uv", "run"], ""),
    ],
)
def test_a_wrapper_stays_in_front_of_the_program_that_counts(prefix: list[str], reloader: str) -> None:
    unwrapped = unwrap([*prefix, *WORKER])
    assert (unwrapped.prefix, unwrapped.argv, unwrapped.reloader) == (prefix, WORKER, reloader)


@pytest.mark.parametrize(
    ("line", "reloader"),
    [
        (["watchmedo", "auto-restart", "-d", ".", "-R", "-p", "*.py", "--", *WORKER], "watchmedo"),
        (["watchmedo", "auto-restart", "--directory=./", "--pattern=*.py", "--recursive", *WORKER], "watchmedo"),
        (["watchfiles", "--filter", "python", " ".join(WORKER), "shop"], "watchfiles"),
        (["python", "-m", "watchfiles", " ".join(WORKER)], "watchfiles"),
        (["watchfiles", f"uv run {' '.join(WORKER)}"], "watchfiles"),
    ],
)
def test_a_reloader_is_taken_off(line: list[str], reloader: str) -> None:
    unwrapped = unwrap(line)
    assert unwrapped.argv == WORKER
    if line[0] != "python":
        assert unwrapped.reloader == reloader
    assert reloader not in unwrapped.prefix


@pytest.mark.parametrize(
    "line",
    [
        ["uv", "sync"],
        ["uv", "run", "-m", "celery"],
        ["uv", "run", "--directory", "x", "celery"],
        ["poetry", "-C", "x", "run", "celery"],
        ["watchmedo", "shell-command"],
        ["watchfiles", "shop.main"],
        ["env"],
    ],
)
def test_what_we_cannot_see_through_runs_as_it_stands(line: list[str]) -> None:
    unwrapped = unwrap(line)
    assert unwrapped.prefix + unwrapped.argv == line


def test_a_command_for_watchfiles_that_cannot_be_read_is_explained() -> None:
    with pytest.raises(DevstackError, match="watchfiles"):
        unwrap(["watchfiles", "celery 'oops"])
