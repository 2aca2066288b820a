"""A command line as /bin/sh reads it, so far as no shell is needed: words, quotes, `$X`, `VAR=x cmd`, `cd dir &&`, `&&`, `;`.

Rule 1: what is read here means the same as in /bin/sh (a property test compares the two); everything else is `needs_shell`, with its
reason.
Rule 2: nothing is expanded before `expand`, which is told the environment: each instance has its own PORT.
Rule 3: with `needs_shell` the words are a best effort, good enough to recognise a program by, never to run it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from devstack.errors import DevstackError

RESERVED = {
    "if",
    "then",
    "else",
    "elif",
    "fi",
    "for",
    "while",
    "until",
    "do",
    "done",
    "case",
    "esac",
    "{",
    "}",
    "!",
    "[[",
    "function",
}
BUILTINS = {
    ".", ":", "alias", "bg", "break", "builtin", "command", "continue", "eval", "exit", "fg", "getopts", "hash", "jobs", "local",
    "popd", "pushd", "read", "readonly", "return", "set", "shift", "source", "times", "trap", "type", "typeset", "ulimit", "umask",
    "unalias", "unset", "wait",
}  # fmt: skip
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


BLANKS = " \t\n"


@dataclass(frozen=True, slots=True)
class Literal:
    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, or `${name:-default}` with `operator` ":-" or "-"."""

    name: str
    quoted: bool = False
    operator: str = ""
    default: tuple[Literal | Variable, ...] = ()

    def value(self, env: Mapping[str, str]) -> str | None:
        """None when the default is to be taken."""
        value = env.get(self.name)
        if self.operator and (value is None or (self.operator == ":-" and not value)):
            return None
        return value or ""


Part = Literal | Variable


@dataclass(frozen=True, slots=True)
class Word:
    parts: tuple[Part, ...]

    def fields(self, env: Mapping[str, str]) -> list[str]:
        """What the word becomes: an unquoted variable may give several words, or none."""
        made: list[str] = []
        current: list[str] | None = None

        def add(text: str, split: bool) -> None:
            nonlocal current
            if not split:
                current = [*(current or []), text]
                return
            for piece in re.findall(rf"[{BLANKS}]+|[^{BLANKS}]+", text):
                if piece[0] not in BLANKS:
                    current = [*(current or []), piece]
                elif current is not None:
                    made.append("".join(current))
                    current = None

        def take(parts: tuple[Part, ...], expanded: bool, quoted: bool) -> None:
            for part in parts:
                if isinstance(part, Literal):
                    add(part.text, split=expanded and not (part.quoted or quoted))
                    continue
                value = part.value(env)
                if value is None:
                    take(part.default, True, quoted or part.quoted)
                else:
                    add(value, split=not (part.quoted or quoted))

        take(self.parts, False, False)
        if current is not None:
            made.append("".join(current))
        return made

    def text(self, env: Mapping[str, str]) -> str:
        """As the value of an assignment: never split."""

        def join(parts: tuple[Part, ...]) -> str:
            return "".join(
                part.text
                if isinstance(part, Literal)
                else (join(part.default) if (v := part.value(env)) is None else v)
                for part in parts
            )

        return join(self.parts)

    @property
    def plain(self) -> str:
        """Its text when it holds neither quotes nor variables, else nothing."""
        if len(self.parts) == 1 and isinstance(part := self.parts[0], Literal) and not part.quoted:
            return part.text
        return ""


@dataclass(frozen=True, slots=True)
class Segment:
    """One simple command: what stands between `&&` and `;`."""

    raw: str
    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Simple:
    """A command ready to run: its words, the variables that it sets for itself, and where it runs."""

    argv: list[str]
    env: dict[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class Command:
    """`joiners` stand between the segments ("&&" or ";"). `shell_reason` says which part only a shell can do."""

    text: str
    segments: tuple[Segment, ...]
    joiners: tuple[str, ...] = ()
    shell_reason: str = ""
    where: str = field(default="", compare=False)

    @property
    def needs_shell(self) -> bool:
        return bool(self.shell_reason)

    def expand(self, env: Mapping[str, str], cwd: str) -> list[Simple]:
        """The simple commands, `cd` and `export` folded into those behind them. `env` is what $X means; `cwd` where the line starts."""
        made: list[Simple] = []
        exported: dict[str, str] = {}
        for segment in self.segments:
            known = {**env, **exported}
            own = dict(exported)
            for name, word in segment.assignments:
                own[name] = word.text({**known, **own})
            argv = [text for word in segment.words for text in word.fields(known)]
            if argv[:1] == ["exec"]:
                del argv[0]
            if argv[:1] == ["cd"] and len(argv) == 2:
                cwd = _joined(cwd, argv[1])
            elif argv[:1] == ["export"]:
                exported |= dict(each.split("=", 1) for each in argv[1:] if "=" in each)
            elif argv:
                made.append(Simple(argv, own, cwd))
        return made


def parse(text: str, where: str = "") -> Command:
    """Read a command line. DevstackError, with `where`, for one that no shell would take (a quote that does not end)."""
    text = text.lstrip()
    text = text if text.rstrip().endswith("\\") else text.rstrip()
    reader = _Reader(text, where)
    command = reader.command()
    if command.needs_shell:
        return Command(text, _best_effort(text), (), command.shell_reason, where)
    return command


class _NeedsShell(Exception):
    pass


class _Reader:
    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.at = 0

    def command(self) -> Command:
        segments: list[Segment] = []
        joiners: list[str] = []
        try:
            while True:
                segments.append(self.segment())
                if not (joiner := self.joiner()):
                    break
                joiners.append(joiner)
                if joiner == ";" and self.rest_is_blank():
                    joiners.pop()
                    break
        except _NeedsShell as reason:
            return Command(self.text, (), (), str(reason), self.where)
        return Command(self.text, tuple(segments), tuple(joiners), "", self.where)

    def peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def skip_blanks(self) -> None:
        while self.peek() in (" ", "\t"):
            self.at += 1

    def rest_is_blank(self) -> bool:
        self.skip_blanks()
        return self.at >= len(self.text) or self.peek() == "#"

    def joiner(self) -> str:
        self.skip_blanks()
        if self.peek() in ("", "#"):
            return ""
        if self.peek(2) == "&&":
            self.at += 2
            return "&&"
        if self.peek() == ";" and self.peek(2) != ";;":
            self.at += 1
            return ";"
        operator = self.peek(2) if self.peek(2) in ("||", ";;", ">>", "<<") else self.peek()
        names = {"|": "a pipe", "&": "a command in the background", "<": "a redirection", ">": "a redirection"}
        raise _NeedsShell(f"{names.get(operator[0], 'the operator')} ({operator})")

    def segment(self) -> Segment:
        self.skip_blanks()
        start = self.at
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        while True:
            self.skip_blanks()
            if self.peek() in ("", "&", ";", "|", "<", ">", "#"):
                break
            match = ASSIGNMENT.match(self.text, self.at)
            if match and not words:
                self.at = match.end()
                assignments.append((match[0][:-1], self.word(value=True)))
            else:
                words.append(self.word(value=bool(match) and bool(words) and words[0].plain == "export"))
        segment = Segment(self.text[start : self.at].strip(), tuple(assignments), tuple(words))
        self.check(segment)
        return segment

    def check(self, segment: Segment) -> None:
        """Refuse what only a shell has: its own words, and assignments without a command."""
        if not segment.words:
            if segment.assignments:
                raise _NeedsShell(
                    "a variable for the commands behind it (write `export` or put it in front of the command)"
                )
            raise _NeedsShell("an operator without a command")
        first = segment.words[0].plain
        if first in RESERVED:
            raise _NeedsShell(f"shell syntax ({first})")
        if first in BUILTINS:
            raise _NeedsShell(f"a command of the shell itself ({first})")
        arguments = segment.words[1:]
        if first == "cd" and (len(arguments) != 1 or arguments[0].plain.startswith("-") or segment.assignments):
            raise _NeedsShell("a cd that is not `cd DIRECTORY`")
        if first == "exec" and (not arguments or arguments[0].plain.startswith("-")):
            raise _NeedsShell("an exec with options")
        if first == "export" and (segment.assignments or not all(_assigns(word) for word in arguments)):
            raise _NeedsShell("an export that is not `export NAME=VALUE`")

    def word(self, *, value: bool = False) -> Word:
        """One word from here. With `value` it is the value of an assignment: no globs there, and it may be empty."""
        parts: list[Part] = []
        if self.peek() == "~":
            raise _NeedsShell("a home directory (~)")
        while (char := self.peek()) not in ("", " ", "\t", "&", ";", "|", "<", ">"):
            if char == "'":
                parts.append(Literal(self.single_quoted(), True))
            elif char == '"':
                parts += self.double_quoted()
            elif char == "$":
                parts.append(self.variable(quoted=False))
            elif char == "\\":
                escaped = self.peek(2)[1:]
                if not escaped:
                    raise self.unfinished("a backslash at the end")
                parts.append(Literal(escaped, True))
                self.at += 2
            else:
                self.refuse(char, value)
                parts.append(Literal(char))
                self.at += 1
        return Word(merged(parts))

    def refuse(self, char: str, value: bool) -> None:
        if char == "`":
            raise _NeedsShell("a command inside the command (`…`)")
        if char in "()":
            raise _NeedsShell("parentheses")
        if char == "\n":
            raise _NeedsShell("several lines")
        if char in "*?[" and not value:
            raise _NeedsShell(f"a file name pattern ({char})")
        if value and char in "~":
            raise _NeedsShell("a home directory (~)")

    def single_quoted(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise self.unfinished("a ' that does not end")
        quoted, self.at = self.text[self.at + 1 : end], end + 1
        return quoted

    def double_quoted(self) -> list[Part]:
        parts: list[Part] = [Literal("", True)]
        self.at += 1
        while (char := self.peek()) != '"':
            if not char:
                raise self.unfinished('a " that does not end')
            if char == "$":
                parts.append(self.variable(quoted=True))
            elif char == "`":
                raise _NeedsShell("a command inside the command (`…`)")
            elif char == "\\" and self.peek(2)[1:] in ("$", "`", '"', "\\"):
                parts.append(Literal(self.peek(2)[1:], True))
                self.at += 2
            else:
                parts.append(Literal(char, True))
                self.at += 1
        self.at += 1
        return parts

    def variable(self, *, quoted: bool) -> Part:
        following = self.peek(2)[1:]
        if match := NAME.match(self.text, self.at + 1):
            self.at = match.end()
            return Variable(match[0], quoted)
        if following == "{":
            return self.braced(quoted=quoted)
        if following == "(":
            raise _NeedsShell("a command inside the command ($(…))")
        if following and following in "@*#?-$!0123456789":
            raise _NeedsShell(f"a variable of the shell itself (${following})")
        if following == "'" and not quoted:
            raise _NeedsShell("a quote with escapes ($'…')")
        self.at += 1
        return Literal("$", quoted)

    def braced(self, *, quoted: bool) -> Part:
        match = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:?-|\})").match(self.text, self.at)
        if not match:
            raise _NeedsShell("a variable that only a shell can work out (${…})")
        self.at = match.end()
        if match[2] == "}":
            return Variable(match[1], quoted)
        parts: list[Part] = []
        while (char := self.peek()) != "}":
            if not char:
                raise self.unfinished("a ${ that does not end")
            if char == "$":
                parts.append(self.variable(quoted=quoted))
            elif char in "'\"`\\*?[~" or (char == "\n"):
                raise _NeedsShell("quotes or patterns inside ${…}")
            else:
                parts.append(Literal(char, quoted))
                self.at += 1
        self.at += 1
        return Variable(match[1], quoted, match[2], merged(parts))

    def unfinished(self, what: str) -> DevstackError:
        return DevstackError(
            "the command cannot be read",
            why=f"it has {what}: {self.text}",
            fix="close it, or write a backslash in front of it when it is meant as it stands",
            where=self.where,
        )


def _assigns(word: Word) -> bool:
    first = word.parts[0] if word.parts else None
    return isinstance(first, Literal) and not first.quoted and bool(ASSIGNMENT.match(first.text))


def _joined(cwd: str, directory: str) -> str:
    """`cd directory` from cwd. Plain text: the paths are those of the system that the stack runs on."""
    if re.match(r"([A-Za-z]:)?[\\/]", directory) or not cwd:
        return directory
    return f"{cwd.rstrip('/')}/{directory}".removesuffix("/.").replace("/./", "/")


def _best_effort(text: str) -> tuple[Segment, ...]:
    """The words of the last command of a line that only a shell can run; of a pipe its first part."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        tokens = list(lexer)
    except ValueError:
        tokens = text.split()
    commands: list[list[str]] = [[]]
    skipping = False
    for token in tokens:
        if token in ("&&", "||", ";", "&", ";;"):
            commands.append([])
            skipping = False
        elif token.startswith(("|", "<", ">")):
            if commands[-1] and commands[-1][-1] in ("1", "2") and f"{commands[-1][-1]}{token}" in text:
                commands[-1].pop()
            skipping = True
        elif not skipping and token not in ("(", ")"):
            commands[-1].append(token)
    *before, words = [each for each in commands if each] or [[]]
    moves = tuple(Segment("cd", (), tuple(map(_loose, each))) for each in before if each[0] == "cd" and len(each) == 2)
    assignments = []
    while words and (match := ASSIGNMENT.match(words[0])):
        assignments.append((match[0][:-1], Word((Literal(words.pop(0)[match.end() :], True),))))
    return (*moves, Segment(text, tuple(assignments), tuple(map(_loose, words))))


def _loose(text: str) -> Word:
    """A word whose quotes are gone, with the variables that can be seen in it."""
    try:
        return _Reader(text, "").word(value=True)
    except (_NeedsShell, DevstackError):
        return Word((Literal(text, True),))


def merged(parts: list[Part]) -> tuple[Part, ...]:
    made: list[Part] = []
    for part in parts:
        last = made[-1] if made else None
        if isinstance(part, Literal) and isinstance(last, Literal) and last.quoted == part.quoted:
            made[-1] = Literal(last.text + part.text, part.quoted)
        else:
            made.append(part)
    return tuple(made)
