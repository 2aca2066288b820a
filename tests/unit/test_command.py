"""Our reading of a command line against /bin/sh's."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.config.command import Simple, parse
from devstack.errors import DevstackError

ENV = {"PORT": "8000", "EMPTY": "", "TWO": "a b", "PADDED": "  x  y ", "APP": "shop"}


def expand(line: str, cwd: str = "/app") -> list[Simple]:
    command = parse(line, "Procfile:1")
    assert not command.needs_shell, command.shell_reason
    return command.expand(ENV, cwd)


def argv(line: str) -> list[str]:
    [simple] = expand(line)
    return simple.argv


def shell(line: str) -> list[list[str]]:
    """What /bin/sh hands to the command `p` each time `line` calls it."""
    script = 'p() { for a in "$@"; do printf "%s\\0" "$a"; done; printf "\\1"; }\n' + line
    done = subprocess.run(["/bin/sh", "-c", script], env=ENV, cwd="/", capture_output=True, timeout=10)
    assert not done.stderr, (line, done.stderr)
    return [[word.decode() for word in call.split(b"\0")[:-1]] for call in done.stdout.split(b"\1")[:-1]]


VARIABLES = [
    "$PORT",
    "${PORT}",
    "${PORT:-1}",
    "${NONE:-8000}",
    "${EMPTY:-e}",
    "${EMPTY-e}",
    "${NONE-a b}",
    "$TWO",
    "$PADDED",
    "$EMPTY",
    "$NONE",
]
PLAIN = st.text("abz01-_./:=,+@%^é{}", min_size=1, max_size=4)
SINGLE = st.text('ab $"\\;&|<>#*', max_size=5).map(lambda text: f"'{text}'")
DOUBLE = st.lists(
    st.sampled_from(["a", " ", "'", ";", "&", "*", "\\$", '\\"', "\\\\", "\\n", "$", "#", *VARIABLES]), max_size=4
).map(lambda parts: '"' + " ".join(parts) + '"')
ESCAPED = st.sampled_from(["\\ ", "\\$", "\\\\", "\\'", '\\"', "\\a", "\\;", "\\*"])
WORD = st.lists(st.one_of(PLAIN, SINGLE, DOUBLE, ESCAPED, st.sampled_from(VARIABLES)), min_size=1, max_size=4).map(
    "".join
)
CALL = st.lists(WORD, max_size=4).map(lambda words: " ".join(["p", *words]))
LINE = st.lists(CALL, min_size=1, max_size=3).flatmap(
    lambda calls: st.sampled_from([" && ", ";", " ; ", "&&"]).map(lambda joiner: joiner.join(calls))
)


@pytest.mark.skipif(sys.platform == "win32", reason="compares with /bin/sh")
@settings(max_examples=400, deadline=None)
@given(LINE)
def test_what_we_run_ourselves_means_what_it_means_in_sh(line: str) -> None:
    command = parse(line)
    if not command.needs_shell:
        assert [simple.argv[1:] for simple in command.expand(ENV, "/")] == shell(line)


@pytest.mark.skipif(sys.platform == "win32", reason="compares with /bin/sh")
@settings(max_examples=60, deadline=None)
@given(st.lists(WORD, min_size=1, max_size=2))
def test_assignments_mean_what_they_mean_in_sh(values: list[str]) -> None:
    line = " ".join([*(f"V{n}={value}" for n, value in enumerate(values)), "/usr/bin/env", "-0"])
    command = parse(line)
    if not command.needs_shell:
        done = subprocess.run(["/bin/sh", "-c", line], env=ENV, capture_output=True, timeout=10)
        theirs = dict(each.split("=", 1) for each in done.stdout.decode().split("\0") if each.startswith("V"))
        assert command.expand(ENV, "/")[0].env == theirs


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("celery -A shop worker -n project.%%h", ["celery", "-A", "shop", "worker", "-n", "project.%%h"]),
        ("gunicorn shop.wsgi --bind 0.0.0.0:${PORT:-8000}", ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:8000"]),
        ("exec gunicorn shop.wsgi", ["gunicorn", "shop.wsgi"]),
        ("'/opt/my tools/run' fast", ["/opt/my tools/run", "fast"]),
        (
            "watchfiles --filter python 'celery -A shop worker' src",
            ["watchfiles", "--filter", "python", "celery -A shop worker", "src"],
        ),
        ("echo hi # not this", ["echo", "hi"]),
    ],
)
def test_lines_from_real_procfiles(line: str, words: list[str]) -> None:
    assert argv(line) == words


def test_cd_and_export_fold_into_what_follows() -> None:
    assert expand("cd backend && export A=1 && B=$A exec celery -A config worker") == [
        Simple(["celery", "-A", "config", "worker"], {"A": "1", "B": "1"}, "/app/backend")
    ]
    assert expand("cd /srv && cd x && run")[0].cwd == "/srv/x"


def test_a_variable_in_front_counts_for_its_command_alone() -> None:
    first, second = expand("A=1 one && two")
    assert (first.env, second.env) == ({"A": "1"}, {})
    assert expand("PORT=1 run $PORT")[0].argv == ["run", "8000"], "the shell expands before it assigns"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a | tee log", "a pipe"),
        ("a > log 2>&1", "a redirection"),
        ("a & b & wait -n", "background"),
        ("echo $(date)", "inside the command"),
        ("echo `date`", "inside the command"),
        ("ls *.py", "pattern"),
        ("for i in 1 2; do run; done", "for"),
        ("(cd x && run)", "parentheses"),
        ("run || true", "the operator|a pipe"),
        ("echo $$", "of the shell itself"),
        ("echo ${X%.py}", "work out"),
        ("source .env && run", "source"),
        ("A=1; run $A", "a variable for the commands"),
        ("~/bin/run", "home"),
        ("wait", "wait"),
    ],
)
def test_what_only_a_shell_can_do_is_left_to_it_with_the_reason(line: str, reason: str) -> None:
    command = parse(line)
    assert command.needs_shell
    assert any(each in command.shell_reason for each in reason.split("|")), command.shell_reason


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("celery -A shop worker 2>&1 | tee log", ["celery", "-A", "shop", "worker"]),
        ("for i in 1; do true; done; gunicorn shop.wsgi -b :$PORT > log", ["gunicorn", "shop.wsgi", "-b", ":8000"]),
    ],
)
def test_its_program_is_recognised_all_the_same(line: str, program: list[str]) -> None:
    assert parse(line).expand(ENV, "/")[-1].argv == program


def test_its_directory_is_known_all_the_same() -> None:
    assert parse("cd backend && celery worker | tee log").expand(ENV, "/app")[-1].cwd == "/app/backend"


@pytest.mark.parametrize("line", ["echo 'oops", 'echo "oops', "echo ${X:-1", "echo oops\\"])
def test_what_does_not_end_is_an_error_with_its_place(line: str) -> None:
    with pytest.raises(DevstackError) as caught:
        parse(line, "Procfile:7")
    assert caught.value.where == "Procfile:7"
    assert line in caught.value.why


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_garbage_is_read_refused_or_left_to_the_shell_but_never_crashes(line: str) -> None:
    with contextlib.suppress(DevstackError):
        parse(line).expand(ENV, "/")
