"""A command line in the part of the shell's language that Procfiles use, understood without a shell and so on every system.

    cd backend && A=1 export B="$X y" && exec celery -A ${APP:-shop} worker

Rule 1: what is read here means what /bin/sh makes of it; a test compares the two on thousands of lines. (But for the backslashes of
Windows' paths, see `words`.)
Rule 2: all else is `needs_shell` (pipes, redirections, patterns, $(…), loops, builtins …), with the reason. Its segments are then a guess
at what counts, good enough to recognise a program by.
Rule 3: pure. Whether a directory or a program exists is for others to ask.
"""

from __future__ import annotations

import functools
import os.path
import re
import shlex
from collections.abc import Mapping, Sequence

from devstack.config.words import BLANKS, NAME, Parameter, Reader, Text, Word
from devstack.core.record import Record
from devstack.errors import DevstackError

_REDIRECTION = re.compile(r"[0-9]*(?:<<-|<<|<&|<>|<|>>|>&|>\||>)")
_SAME_OUTPUT = re.compile(r"(?:1|2)?>&[12](?=[ \t\n;&|)]|$)")
"""`2>&1`: nothing to do, for both go to one pipe anyway."""
_OPERATOR = re.compile(r"&&|\|\||;;|[|&;()\n]")
_OPENING = {"{", "!", "if", "then", "else", "elif", "while", "until", "do", "time"}
_CLOSING = {"}", "fi", "done", "esac"}
_KEYWORDS = _OPENING | _CLOSING | {"for", "case", "select", "function", "in", "[["}
_BUILTINS = frozenset(
    """
    . : [ alias bg break builtin command continue declare echo enable eval exit fg getopts hash jobs kill let
    local popd printf pushd pwd read readonly return set shift shopt source test times trap type typeset ulimit
    umask unalias unset wait
    """.split()
)
"""Builtins that have no program of the same name, or one that behaves differently."""


class Simple(Record):
    """One program to run. `env` holds what the command assigns, expanded, and nothing else."""

    argv: list[str]
    env: dict[str, str]
    cwd: str


class Segment(Record):
    """What stands between two joiners, unexpanded. `raw` is its text, `raw_assignments` that of the `A=b` in front."""

    raw: str
    raw_assignments: str
    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]


class Command(Record):
    """`joiners` are the "&&" and ";" between the segments. `shell_reason` says what a shell is needed for."""

    text: str
    segments: tuple[Segment, ...]
    joiners: tuple[str, ...]
    needs_shell: bool
    shell_reason: str = ""

    def expand(self, env: Mapping[str, str], cwd: str) -> list[Simple]:
        """The programs in their order. `cd`, `export`, `exec` and assignments that stand alone are worked into those behind them.

        None for a command that runs no program. A variable that is not there is empty, as in a shell.
        """
        variables, given, simples = dict(env), dict[str, str](), list[Simple]()
        exported = set(env)

        def assign(values: Mapping[str, str]) -> None:
            variables.update(values)
            given.update({name: value for name, value in values.items() if name in exported})

        for segment in self.segments:
            known = {**variables, "PWD": cwd}
            argv = [each for word in segment.words for each in word.fields(known)]
            assigned: dict[str, str] = {}
            for name, word in segment.assignments:
                assigned[name] = word.value({**known, **assigned})
            if argv[:1] == ["exec"]:
                argv = argv[1:]
            if not argv:
                assign(assigned)
            elif argv[0] == "cd" and len(argv) <= 2:
                there = argv[1] if len(argv) == 2 else variables.get("HOME", "")
                cwd = os.path.normpath(os.path.join(cwd, there))
            elif argv[0] == "export":
                for word in segment.words[1:]:
                    name, value = word.assignment() or (word.value(known), None)
                    exported.add(name)
                    if value is not None:
                        assign({name: value.value(known)})
                    elif name in variables:
                        assign({name: variables[name]})
            else:
                simples.append(Simple(argv, {**given, **assigned}, cwd))
        return simples

    def shell_text(self, last_argv: Sequence[str] | None) -> str:
        """The line for `/bin/sh -c`, with its last program exchanged for `last_argv`; None keeps the line as it is.

        The program takes the shell's place (`exec`), so that no sh stays between it and us. Not for a command that `needs_shell`: there
        the last program cannot be cut out.
        """
        if last_argv is None:
            return self.text
        if self.needs_shell:
            raise ValueError(f"cannot exchange the last program: {self.shell_reason}")
        last = self.segments[-1]
        text = "".join(f"{each.raw}{joiner} " for each, joiner in zip(self.segments, self._spaced, strict=False))
        return text + " ".join(filter(None, [last.raw_assignments, "exec", shlex.join(last_argv)]))

    @property
    def _spaced(self) -> list[str]:
        return [" &&" if each == "&&" else each for each in self.joiners]


@functools.lru_cache(1024)
def parse(text: str, where: str = "", system: str = "") -> Command:
    """DevstackError for what no shell would take: an unclosed quote, nothing on one side of `&&`. `system`: where it is to run."""
    if "\0" in text:
        raise DevstackError("the command holds a NUL character", fix="remove it", where=where)
    parser = _Parser(text, where, system)
    parser.read()
    joiners = parser.joiners[: max(0, len(parser.segments) - 1)]
    return Command(text, tuple(parser.segments), tuple(joiners), bool(parser.reason), parser.reason)


class _Parser(Reader):
    """Collects the segments on its way through the text."""

    def __init__(self, text: str, where: str, system: str) -> None:
        super().__init__(text, where, system)
        self.segments: list[Segment] = []
        self.joiners: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """A new segment starts here."""
        self.words: list[Word] = []
        self.assignments: list[tuple[str, Word]] = []
        self.start = self.words_at = self.end = self.at
        self.behind_a_pipe = False

    def read(self) -> None:
        while True:
            self.skip_blanks()
            if not self.words and not self.assignments:
                self.start = self.at
            if not self.peek():
                break
            if self.peek() == "#":
                newline = self.text.find("\n", self.at)
                self.at = newline if newline >= 0 else len(self.text)
            elif match := _SAME_OUTPUT.match(self.text, self.at):
                self.at = self.end = match.end()
            elif match := _REDIRECTION.match(self.text, self.at):
                self.needs_shell(f"a redirection ({match[0]})")
                self.at = match.end()
                self.skip_blanks()
                if self.peek() and not _OPERATOR.match(self.text, self.at):
                    self.word()
            elif match := _OPERATOR.match(self.text, self.at):
                self._operator(match[0])
            else:
                at, word = self.at, self.word()
                if not self.behind_a_pipe:
                    self._take(at, word)
                    self.end = self.at
        self._finish("")
        if self.segments and not self.reason:
            self._check_last(self.segments[-1])

    def _take(self, at: int, word: Word) -> None:
        """One more word of the segment."""
        literal = word.literal
        if self.words:
            if reason := word.shell_reason():
                self.needs_shell(reason)
            self.words.append(word)
        elif assignment := word.assignment():
            if assignment[0] in ("PWD", "OLDPWD", "IFS", "CDPATH"):
                self.needs_shell(f"{assignment[0]}=")
            self._check_value(assignment[1])
            self.assignments.append(assignment)
        elif literal in _KEYWORDS and not self.assignments:
            self.needs_shell(f"the keyword {literal}")
            if literal not in _OPENING | _CLOSING:
                self.words.append(word)
        else:
            if literal in _BUILTINS or literal in _KEYWORDS:
                self.needs_shell(f"the builtin {literal}")
            elif literal and re.match(r"[A-Za-z_]\w*(\+=|\[)", literal):
                self.needs_shell("an assignment that only some shells know")
            elif reason := word.shell_reason():
                self.needs_shell(reason)
            self.words_at = at
            self.words.append(word)

    def _check_value(self, value: Word) -> None:
        if reason := value.home_reason():
            self.needs_shell(reason)
        elif any(isinstance(each, Text) and not each.quoted and ":~" in each.text for each in value.parts):
            self.needs_shell("~ inside a value")

    def _operator(self, operator: str) -> None:
        self.at += len(operator)
        if operator == "\n" and not self.words and not self.assignments:
            self._begin()
        elif operator in ("&&", ";", "\n"):
            self._finish(operator)
        else:
            self.needs_shell("a background command (&)" if operator == "&" else f"{operator}")
            if operator in ("|", "||"):
                self.behind_a_pipe = True
            else:
                self._finish(operator)

    def _finish(self, operator: str) -> None:
        """The segment ends with an operator, or with the text."""
        if self.words or self.assignments:
            raw, words_at = self.text[self.start : self.end], self.words_at if self.words else self.end
            raw_assignments = self.text[self.start : words_at].strip(BLANKS + "\n") if self.assignments else ""
            self.segments.append(Segment(raw, raw_assignments, tuple(self.assignments), tuple(self.words)))
            self.joiners.append("&&" if operator == "&&" else ";")
            if operator:
                self._check_inner(self.segments[-1])
        elif not self.reason and operator:
            raise DevstackError(f"nothing stands before {operator} in the command", where=self.where)
        elif not self.reason and self.joiners[-1:] == ["&&"]:
            raise DevstackError("nothing stands behind && in the command", fix="remove the &&", where=self.where)
        self._begin()

    def _check_inner(self, segment: Segment) -> None:
        self._check_builtin(segment)
        if segment.words and segment.words[0].literal == "exec":
            self.needs_shell("exec before the last command")

    def _check_last(self, segment: Segment) -> None:
        self._check_builtin(segment)
        name = segment.words[0].literal if segment.words else "an assignment"
        if len(self.segments) > 1 and (not segment.words or name in ("cd", "export")):
            self.needs_shell(f"{name} at the end")

    def _check_builtin(self, segment: Segment) -> None:
        """The forms of `cd`, `export` and `exec` that are not read here."""
        name, words = (segment.words[0].literal, segment.words[1:]) if segment.words else ("", ())
        if name not in ("cd", "export", "exec"):
            return
        options = any((each.literal or "").startswith("-") for each in words[:1])
        if options or (name != "exec" and segment.assignments) or (name == "cd" and len(words) > 1):
            self.needs_shell(f"this form of {name}")
        for word in words if name == "export" else ():
            assignment = word.assignment()
            if assignment is None:
                if not NAME.fullmatch(word.literal or ""):
                    self.needs_shell(f"this form of {name}")
                continue
            self._check_value(assignment[1])
            if any(isinstance(each, Parameter) and not each.quoted for each in assignment[1].parts):
                self.needs_shell("export of an unquoted variable")  # Versions of dash before 0.5.11 split it.
