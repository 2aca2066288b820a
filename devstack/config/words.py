"""Words of a command as /bin/sh reads them: quotes, backslashes, $X, ${X:-default}, ~.

Rule 1: a Word keeps its parts unexpanded; `fields` and `value` expand it with variables given later.
Rule 2: what only a shell can work out ($(…), patterns, ~user …) stays in the word as text, and `Reader.reason` says what it was.
Rule 3: what differs between dash and bash is left to the shell too, so that a command means the same everywhere.
Rule 4: for Windows alone, an unquoted backslash in front of a letter, a digit, or a dot is no escape but stands in a path, as in
venv\\Scripts\\python; in front of all else it still quotes.

A value that holds `*`, `?` or `[` is never taken for a file name pattern when its variable stands unquoted: in practice it is a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from devstack.core.record import Record
from devstack.errors import DevstackError

BLANKS = " \t"
ENDS_A_WORD = " \t\n|&;()<>"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")
"""Characters that mean nothing else anywhere."""
_OPERATOR = re.compile(r":?[-+]")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=", re.ASCII)
# Compiled by whoever needs it, not at each start.
_SHELL_SETS = (
    r"IFS|PPID|OLDPWD|OPTIND|OPTARG|PS[1-4]|LINENO|RANDOM|SRANDOM|SECONDS|EPOCH\w*|E?UID|GROUPS|"
    r"HOSTNAME|HOSTTYPE|MACHTYPE|OSTYPE|SHELLOPTS|SHLVL|BASH\w*|DIRSTACK|FUNCNAME|PIPESTATUS|_"
)
"""Variables that sh, or bash under that name, sets by itself. PWD is one too; `Command.expand` provides it."""
_IN_A_PATH = re.compile(r"\\(?=[\w.])")
_QUERY = re.compile(r"/[^/?]*\?")
_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.]*\](?=:|$)")


class Text(Record):
    text: str
    quoted: bool


class Parameter(Record):
    """`$name`, or `${name<operator>default}` with an operator of `-`, `:-`, `+`, `:+`."""

    name: str
    operator: str
    default: Word | None
    quoted: bool


class Word(Record):
    parts: tuple[Text | Parameter, ...]

    @property
    def literal(self) -> str | None:
        """Its text when it has no quotes and no variables: what may be a keyword or the name of a builtin."""
        if not self.parts:
            return ""
        first = self.parts[0]
        return first.text if len(self.parts) == 1 and isinstance(first, Text) and not first.quoted else None

    def assignment(self) -> tuple[str, Word] | None:
        """`NAME=value` as the name and the word of the value."""
        first = self.parts[0] if self.parts else None
        if not isinstance(first, Text) or first.quoted or not (match := _ASSIGNMENT.match(first.text)):
            return None
        rest = first.text[match.end() :]
        return match[1], Word((*((Text(rest, False),) if rest else ()), *self.parts[1:]))

    def shell_reason(self) -> str:
        """What in it only a shell can work out: a pattern, `{a,b}`, the home of another user; "" for nothing."""
        url = False
        for part in self.parts:
            text = part.text if isinstance(part, Text) and not part.quoted else ""
            # redis://host/0?ssl=1 and [::1]:8000 would be patterns only for files of the oddest names.
            url = url or "://" in text
            text = _ADDRESS.sub("", _QUERY.sub("/", text) if url else text)
            if found := re.search(r"[*?[]", text):
                return f"a pattern ({found[0]})"
            if "{" in text and re.search(r",|\.\.", text):
                return "{ } that some shells expand"
        return self.home_reason()

    def home_reason(self) -> str:
        first = self.parts[0] if self.parts else None
        if not isinstance(first, Text) or first.quoted or not first.text.startswith("~"):
            return ""
        ends = first.text == "~" and len(self.parts) == 1
        return "" if ends or first.text.startswith("~/") else "~ of another user"

    def value(self, variables: Mapping[str, str]) -> str:
        """Expanded and not split, as in an assignment."""
        return "".join(text for text, _ in self._pieces(variables))

    def fields(self, variables: Mapping[str, str]) -> list[str]:
        """Expanded; what comes from unquoted variables is split at blanks and vanishes when empty."""
        fields: list[str] = []
        open_field: str | None = None
        for text, quoted in self._pieces(variables):
            if quoted:
                open_field = (open_field or "") + text
                continue
            for run in re.findall(r"[ \t\n]+|[^ \t\n]+", text):
                if run[0] not in " \t\n":
                    open_field = (open_field or "") + run
                elif open_field is not None:
                    fields.append(open_field)
                    open_field = None
        return fields if open_field is None else [*fields, open_field]

    def _pieces(self, variables: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
        for at, part in enumerate(self.parts):
            if isinstance(part, Text):
                if at == 0 and not part.quoted and re.match(r"~(/|$)", part.text) and variables.get("HOME"):
                    yield variables["HOME"], True
                    yield part.text[1:], False
                else:
                    yield part.text, part.quoted
                continue
            value = variables.get(part.name)
            present = value is not None and (value != "" or not part.operator.startswith(":"))
            if present is part.operator.endswith("+") and part.default is not None:
                if part.quoted:
                    yield part.default.value(variables), True
                else:
                    yield from part.default._pieces(variables)
            else:
                yield "" if part.operator.endswith("+") else value or "", part.quoted


class Reader:
    """Goes through the text of a command. `reason` is the first thing met that needs a shell."""

    def __init__(self, text: str, where: str, system: str = "") -> None:
        self.text = text
        self.where = where
        self.system = system
        self.at = 0
        self.reason = ""

    def needs_shell(self, reason: str) -> None:
        self.reason = self.reason or reason

    def peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def skip_blanks(self) -> None:
        while (char := self.peek()) and (char in BLANKS or self.peek(2) == "\\\n"):
            self.at += 1 if char in BLANKS else 2

    def word(self) -> Word:
        """The word that begins here; it has at least one part."""
        return Word(self._parts(ENDS_A_WORD, quoted=False))

    def _parts(self, end: str, quoted: bool) -> tuple[Text | Parameter, ...]:
        """Up to one of the characters in `end`. With `quoted`: as between double quotes."""
        parts: list[Text | Parameter] = []

        def add(text: str, is_quoted: bool) -> None:
            last = parts[-1] if parts else None
            if isinstance(last, Text) and last.quoted is is_quoted:
                parts[-1] = Text(last.text + text, is_quoted)
            else:
                parts.append(Text(text, is_quoted))

        while (char := self.peek()) and char not in end:
            if not quoted and self.system == "win32" and _IN_A_PATH.match(self.text, self.at):
                self.at += 1
                add("\\", True)
            elif char == "\\":
                if quoted and end == "}":
                    self.needs_shell("a backslash in a default")
                escaped = self.text[self.at + 1 : self.at + 2]
                self.at += 2
                if escaped == "\n" and (quoted or self.peek() not in ("", *BLANKS)):
                    self.needs_shell("a word over two lines")
                if quoted and escaped not in ("$", "`", '"', "\\", "\n"):
                    add("\\" + escaped, True)
                elif escaped != "\n":
                    add(escaped or "\\", True)
            elif char == "'" and not quoted:
                closed = self._closing("'")
                add(self.text[self.at + 1 : closed], True)
                self.at = closed + 1
            elif char == '"':
                opened = self.at
                self.at += 1
                if quoted:
                    self.needs_shell("quotes inside quotes")
                inner = self._parts('"', quoted=True)
                if self.peek() != '"':
                    raise self._unclosed('"', opened)
                self.at += 1
                parts += inner or (Text("", True),)
            elif char == "`":
                self.needs_shell("a command in backquotes")
                closed = self._closing_escaped("`")
                add(self.text[self.at : closed + 1], True)
                self.at = closed + 1
            elif char == "$":
                part = self._dollar(quoted)
                if isinstance(part, Parameter):
                    parts.append(part)
                else:
                    add(part, True)
            else:
                run = _PLAIN.match(self.text, self.at)
                self.at = run.end() if run else self.at + 1
                add(run[0] if run else char, quoted)
        return tuple(parts)

    def _dollar(self, quoted: bool) -> Parameter | str:
        start = self.at
        following = self.text[start + 1 : start + 2]
        if match := NAME.match(self.text, start + 1):
            self.at = match.end()
            return self._parameter(match[0], "", None, quoted)
        if following == "(":
            self.needs_shell("$(…)")
            self._skip_parentheses()
        elif following == "{":
            return self._braces(quoted)
        elif following and (following.isdigit() or following in "@*#?$!-"):
            self.needs_shell(f"${following}")
            self.at += 2
        else:
            if not quoted:  # dash and bash differ about $"…", and about a $ at the end of a word that is split.
                self.needs_shell(f"${following}".strip())
            self.at += 1
        return self.text[start : self.at]

    def _braces(self, quoted: bool) -> Parameter | str:
        start = self.at
        name = NAME.match(self.text, start + 2)
        operator = name and _OPERATOR.match(self.text, name.end())
        if name and operator:
            self.at = operator.end()
            default = Word(self._parts("}", quoted))
            if self.peek() != "}":
                raise self._unclosed("${", start)
            self.at += 1
            if not quoted and (reason := default.shell_reason()):
                self.needs_shell(reason)
            return self._parameter(name[0], operator[0], default, quoted)
        closed = self.text.find("}", start)
        if closed < 0:
            raise self._unclosed("${", start)
        self.at = closed + 1
        if name and name.end() == closed:
            return self._parameter(name[0], "", None, quoted)
        self.needs_shell(self.text[start : self.at])
        return self.text[start : self.at]

    def _parameter(self, name: str, operator: str, default: Word | None, quoted: bool) -> Parameter:
        if re.fullmatch(_SHELL_SETS, name):
            self.needs_shell(f"${name}")
        return Parameter(name, operator, default, quoted)

    def _skip_parentheses(self) -> None:
        """Over `$( … )`, by counting: what is inside is the shell's business."""
        start, depth = self.at, 0
        self.at += 1
        while char := self.peek():
            if char in "'\"":
                self.at = self._closing(char) if char == "'" else self._closing_escaped(char)
            elif char == "\\":
                self.at += 1
            depth += (char == "(") - (char == ")")
            self.at += 1
            if depth == 0:
                return
        raise self._unclosed("$(", start)

    def _closing(self, quote: str) -> int:
        closed = self.text.find(quote, self.at + 1)
        if closed < 0:
            raise self._unclosed(quote, self.at)
        return closed

    def _closing_escaped(self, quote: str) -> int:
        match = re.compile(rf"{quote}(?:[^{quote}\\]|\\.)*{quote}", re.DOTALL).match(self.text, self.at)
        if not match:
            raise self._unclosed(quote, self.at)
        return match.end() - 1

    def _unclosed(self, opening: str, at: int) -> DevstackError:
        closing = {"${": "}", "$(": ")"}.get(opening, opening)
        shown = self.text[at : at + 30] + ("…" if len(self.text) > at + 30 else "")
        fix = f"add the missing {closing}"
        if opening in ("'", '"', "`"):
            fix += f", or write \\{opening} for the character itself"
        return DevstackError(
            f"the command has a {opening} that is never closed",
            why=f"it opens at character {at + 1}: {shown}",
            fix=fix,
            where=self.where,
        )
