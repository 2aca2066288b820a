"""Our reading of a command line against that of the real /bin/sh, and the forms that real Procfiles have."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from devstack.config.command import Simple, parse
from devstack.errors import DevstackError

ENV = {"HOME": "/home/me", "A": "one", "B": "two words", "E": "", "S": "  a  b ", "Q": "'\"\\", "N": "x\ny"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="there is no /bin/sh")


def argv(text: str, env: dict[str, str] | None = None) -> list[str]:
    command = parse(text, "Procfile:1")
    assert not command.needs_shell, command.shell_reason
    (simple,) = command.expand(ENV if env is None else env, "/srv")
    return simple.argv


def reason(text: str) -> str:
    command = parse(text, "Procfile:1")
    assert command.needs_shell is bool(command.shell_reason)
    return command.shell_reason


# ---- as /bin/sh reads it --------------------------------------------------------------------------------------------------

FRAGMENTS = [
    *("a", "-x", "--opt=1", "x=y", "%h", "w@%%h", "é", "1", "~", "~/x", "!", "{}", "=", "#", "a#b", "//", ":"),
    *("$A", "$B", "$E", "$S", "$U", "$Q", "$N", "${A}", "${S}", "${E:-d}", "${E-d}", "${U:-d}", "${U-d}", "$A$B", "$", "$%", "$1"),
    *("${U:-a b}", "${U:-'a b'}", '${U:-"$B"}', "${U:-$S}", "${A:+yes no}", "${E+set}", "${E:+set}", "${U:-${E:-deep}}", "${U:-}"),
    *("'", '"', "\\", " ", "  ", "\t", "''", '""', "'a b'", '"a b"', '"$B"', '"$S"', "'$A'", '"\\$A"', "\\ ", "\\\\", "\\'", '"\\a"'),
    *('"${U:-a b}"', '"${E:-$S}"', '"${U:-\'a\'}"', "\\\n", "`", "$(", "*", "?", "[", "]", "[::1]:80", "r://h/0?x=1", "{a,b}", "${A%e}"),
]  # fmt: skip
lines = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=7).map("".join)
words_of_sh = settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))


def sh(script: str, env: dict[str, str], cwd: str) -> subprocess.CompletedProcess[bytes]:
    # One pipe for both outputs, as the supervisor has it.
    return subprocess.run(
        ["/bin/sh", "-c", script], env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10
    )


@posix
@words_of_sh
@given(lines)
def test_words_are_those_of_the_shell(tail: str) -> None:
    line = f"printf %s\\\\0 {tail}"
    try:
        command = parse(f"p {tail}", "Procfile:1")
    except DevstackError:
        # What we refuse, the shell does not take either.
        assert sh(line, ENV, "/").returncode == 2
        return
    assume(not command.needs_shell and len(command.segments) == 1)  # "\n" may make it two.
    (simple,) = command.expand(ENV, "/")
    result = sh(line, ENV, "/")
    assert result.returncode == 0, result.stdout
    printed = result.stdout.split(b"\0")[:-1]
    assert [os.fsencode(word) for word in simple.argv[1:]] == (printed if simple.argv[1:] else [])


@pytest.fixture(scope="module")
def stage() -> Iterator[Path]:
    """A directory with subdirectories and, on its PATH, a program `show` that prints where, with which variables and words it runs."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        for each in ("one", "one/deep", "two words"):
            (root / each).mkdir(parents=True)
        show = root / "show"
        show.write_text(
            '#!/bin/sh\nprintf \'%s|\' "$(pwd)" "${A-unset}" "${B-unset}" "${V-unset}" "$@"\nprintf \'\\n\'\n'
        )
        show.chmod(0o755)
        yield root


PIECES = [
    *("show", "show x", 'show "$A" $B $V', "show $PWD", "show ${V:-none} # said", "exec show last", "A=1 show $A", "V=$A show"),
    *("A=1 B=$A show", 'V="$B" exec show', "cd one", "cd 'two words'", "cd $HOME", "cd", "cd one/deep/..", "cd ./one", "A=2", "V=v"),
    *("export V=3", "export V", "export A B=4", 'export V="$B"', "A=5 V=6", "show 2>&1", "show >&2", "$E show y", "true", ""),
]  # fmt: skip


@posix
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([" && ", ";", "\n", " ; "])), min_size=1, max_size=5)
)
def test_lines_run_the_programs_that_the_shell_runs(stage: Path, pieces: list[tuple[str, str]]) -> None:
    line = "".join(f"{piece}{joiner}" for piece, joiner in pieces)[: -len(pieces[-1][1])]
    env = {"PATH": f"{stage}:{os.defpath}", "HOME": str(stage), "A": "one", "B": "two words", "E": ""}
    try:
        command = parse(line, "Procfile:1")
    except DevstackError:
        assert sh(line, env, str(stage)).returncode == 2
        return
    assume(not command.needs_shell)
    simples = command.expand(env, str(stage))
    assume(all(Path(each.cwd).is_dir() for each in simples))  # `cd` to nowhere is the caller's to find.
    result = sh(line, env, str(stage))
    assume(b"cd:" not in result.stdout)
    assert result.stdout.decode().splitlines() == [
        "|".join([each.cwd, *({**env, **each.env}.get(name, "unset") for name in "ABV"), *each.argv[1:], ""])
        for each in simples
        if each.argv[0] == "show"
    ]


@posix
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(PIECES), max_size=3), st.sampled_from(["V=v show old", "show", "A=7 exec show $A"]))
def test_the_last_program_can_be_exchanged_in_the_text(stage: Path, before: list[str], last: str) -> None:
    line = " && ".join([*filter(None, before), last])
    env = {"PATH": f"{stage}:{os.defpath}", "HOME": str(stage), "A": "one", "B": "two words", "E": ""}
    command = parse(line, "Procfile:1")
    assume(not command.needs_shell)
    old, new = (sh(text, env, str(stage)) for text in (line, command.shell_text(["show", "ne w", "$A"])))
    assert old.returncode == new.returncode
    *first, printed = old.stdout.decode().splitlines() or [""]
    if old.returncode == 0:
        kept = "|".join(printed.split("|")[:4])
        assert new.stdout.decode().splitlines() == [*first, f"{kept}|ne w|$A|"]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_ends_in_a_traceback(text: str) -> None:
    with contextlib.suppress(DevstackError):
        parse(text, "Procfile:1").expand(ENV, "/")


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), min_size=1))
def test_quoted_words_come_back_whatever_is_in_them(words: list[str]) -> None:
    assert argv("program " + shlex.join(words)) == ["program", *words]


# ---- the forms that Procfiles have ----------------------------------------------------------------------------------------


def test_a_directory_assignments_and_exec_belong_to_the_program_behind_them() -> None:
    command = parse("cd backend && export MODE=dev && VAR=1 exec celery -A ${APP:-shop} worker -n w@%h")
    there, program = os.path.join(os.sep, "srv", "backend"), ["celery", "-A", "shop", "worker", "-n", "w@%h"]
    expected = Simple(program, {"MODE": "dev", "VAR": "1"}, there)
    assert command.expand({}, f"{os.sep}srv") == [expected]
    assert not command.needs_shell


def test_each_program_of_a_line_is_told() -> None:
    command = parse("python manage.py migrate && gunicorn shop.wsgi -b :$PORT")
    assert [each.argv[0] for each in command.expand({"PORT": "5000"}, "/")] == ["python", "gunicorn"]
    assert command.joiners == ("&&",)


def test_a_variable_is_not_passed_on_before_it_is_exported() -> None:
    first, second = parse("V=1; show $V; export V; show").expand({}, "/")
    assert (first.argv, first.env, second.env) == (["show", "1"], {}, {"V": "1"})


def test_quotes_around_a_whole_command_make_it_one_word() -> None:
    assert argv('"/opt/my tools/run $A"') == ["/opt/my tools/run one"]


def test_an_inline_comment_ends_the_command_and_a_hash_inside_a_word_does_not() -> None:
    assert argv("gunicorn shop#x # for now") == ["gunicorn", "shop#x"]


def test_an_address_and_the_query_of_a_url_are_no_patterns() -> None:
    assert argv("uvicorn --host=[::1]:80 -b redis://$A:1/0?ssl=1") == [
        "uvicorn",
        "--host=[::1]:80",
        "-b",
        "redis://one:1/0?ssl=1",
    ]
    assert reason("x redis://a/0?b=*") == "a pattern (*)"
    assert reason("x redis://$S*") == "a pattern (*)"


def test_a_command_may_go_on_in_the_next_line() -> None:
    assert argv("celery -A shop \\\n  worker\\\n") == ["celery", "-A", "shop", "worker"]


def test_both_outputs_are_one_already() -> None:
    assert argv("celery worker 2>&1") == ["celery", "worker"]


@pytest.mark.parametrize("text", ["", "   ", "# nothing", "A=1", "cd x", ";\n".strip(";")])
def test_a_command_may_name_no_program(text: str) -> None:
    assert parse(text).expand({}, "/") == []


@pytest.mark.parametrize(
    ("text", "expected", "counts"),
    [
        ("celery worker 2>&1 | tee log", "|", "celery worker"),
        ("celery worker || true", "||", "celery worker"),
        ("celery worker > log 2>&1", "a redirection (>)", "celery worker"),
        ("python - <<EOF", "a redirection (<<)", "python -"),
        ("a & b & wait -n", "a background command (&)", "wait -n"),
        ("celery worker &", "a background command (&)", "celery worker"),
        ("while true; do celery worker; done", "the keyword while", "celery worker"),
        ("if [ -n x ]; then celery worker; fi", "the keyword if", "celery worker"),
        ("(cd x && celery worker)", "(", "celery worker"),
        (". venv/bin/activate && celery worker", "the builtin .", "celery worker"),
        ("celery -n w@$(hostname)", "$(…)", "celery -n w@$(hostname)"),
        ("celery -n `hostname -s`", "a command in backquotes", "celery -n `hostname -s`"),
        ("cat *.py", "a pattern (*)", "cat *.py"),
        ("celery --logfile ~bob/x", "", "celery --logfile ~bob/x"),
        ("~bob/bin/celery", "~ of another user", "~bob/bin/celery"),
        ("ls ${A%e}", "${A%e}", "ls ${A%e}"),
        ("kill $1", "the builtin kill", "kill $1"),
        ("cd - && ls", "this form of cd", "ls"),
        ("exec -a name ls", "this form of exec", "-a name ls"),
        ("exec a && b", "exec before the last command", "b"),
        ("a && cd x", "cd at the end", "a"),
        ("export $A && b", "this form of export", "b"),
        ("export V=$B && b", "export of an unquoted variable", "b"),
        ("A=1 cd x && b", "this form of cd", "b"),
        ("ls $HOSTNAME", "$HOSTNAME", "ls "),
        ("ls {a,b}", "{ } that some shells expand", "ls {a,b}"),
        ("ls $A\\\nb", "a word over two lines", "ls oneb"),
        ('ls "a\\\nb"', "a word over two lines", "ls ab"),
        ("ls $'a'", "$'", "ls $a"),
        ('ls "${U:-"a"}"', "quotes inside quotes", "ls a"),
        ("P=~/a:~/b ls", "~ inside a value", "ls"),
    ],
)
def test_what_only_a_shell_can_do_is_left_to_it_and_the_program_still_recognised(
    text: str, expected: str, counts: str
) -> None:
    assert reason(text) == (expected or "~ of another user")
    simples = parse(text).expand({"A": "one", "B": "two"}, "/")
    assert " ".join(simples[-1].argv) == counts.strip() or simples[-1].argv == counts.split(" ")


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        (
            "celery -A 'shop worker",
            "the command has a ' that is never closed",
            "it opens at character 11: 'shop worker",
        ),
        ('gunicorn "shop:$(x "y) z', 'the command has a " that is never closed', "it opens at character 20"),
        ("x $(ls", "the command has a $( that is never closed", "it opens at character 3: $(ls"),
        ("x ${PORT:-80", "the command has a ${ that is never closed", "it opens at character 3: ${PORT:-80"),
        ("x `ls", "the command has a ` that is never closed", ""),
        ("a &&", "nothing stands behind && in the command", ""),
        ("a && && b", "nothing stands before && in the command", ""),
        ("; a", "nothing stands before ; in the command", ""),
        ("a \0 b", "the command holds a NUL character", ""),
    ],
)
def test_what_no_shell_would_take_is_an_error_with_its_place(text: str, what: str, why: str) -> None:
    with pytest.raises(DevstackError) as caught:
        parse(text, "Procfile:7")
    assert caught.value.what == what
    assert why in caught.value.why
    assert caught.value.where == "Procfile:7"


def test_a_text_that_needs_a_shell_cannot_have_its_program_exchanged() -> None:
    command = parse("celery | tee log")
    assert command.shell_text(None) == "celery | tee log"
    with pytest.raises(ValueError, match="cannot exchange"):
        command.shell_text(["x"])
