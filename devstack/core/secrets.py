"""Passwords are masked wherever devstack prints an address, a variable, a command or what a program said.

Rule 1: a name decides about a value (`PGPASSWORD`, `STRIPE_KEY`), else the value's own form does (`redis://:secret@host`). In doubt it is
masked: one that is shown cannot be taken back.
Rule 2: words of English are no secrets: COMPASS, PASSENGERS, KEYBOARD, AUTHOR, TOKENIZERS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote

MASK = "***"
SHORTEST = 6
"""A value of fewer characters would be found everywhere."""
# Compiled when a text first needs them: all of them take 4 ms.
_WORD = r"[^\s'\"]+"
_USER = r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}://[^/?#@:]*:"
_LOGIN = r"://(?P<user>[^/?#@:\s]*)(?::(?P<password>[^/?#\s]*))?@"
_LONE_TOKEN = r"(?P<start>\b(?:git\+)?https?://)[\w.-]{16,}(?=@)"
"""https://ghp_…@github.com, and the key of a Sentry DSN."""
_PARAMETER = r"(?P<start>[?&;](?P<name>[A-Za-z][\w-]*)=)(?P<value>[^&;#\s'\"]+)"
_ENGLISH = r"(?<!by)(?<!com)(?<!tres)(?<!sur)(?<!over)(?<!under)"
_SECRET_NAME = rf"""(?ix)
      passw | passphrase | passcode | passkey | secret(?!ar) | credential | private | webhook_?url
    | {_ENGLISH}pass\d*(?![a-z])              # DB_PASS, MYPASS; not PASSENGERS, COMPASS
    | (?<!^)(?<!^old)pwd(?![a-z])             # MYSQL_PWD, not the directory
    | tokens?(?![a-z])
    | (?<![a-z])keys?(?![a-z])                # STRIPE_KEY, KEY; not MONKEY
    | (?:api|access|auth|encrypt(?:ion)?|sign(?:ing)?|ssh|master|license)keys?(?![a-z])
    | (?:(?<![a-z])|basic|master|http)auth$   # BASIC_AUTH; not AUTH_USER_MODEL
    | (?<![a-z])(?:dsn|salt|pem|jwt)(?![a-z]) | requirepass
    """
_CAMEL = r"(?<=[a-z0-9])(?=[A-Z])"
_QUOTED = r"'[^']*'|\"[^\"]*\""
_ASSIGNMENT = rf"(?<![\w?&;-])(?P<start>(?P<name>[A-Za-z_]\w*)=)(?P<value>{_QUOTED}|[^\s'\"&;]+)"
_OPTION = rf"(?<!\S)(?P<start>--?(?!no-)(?P<name>[A-Za-z][\w-]+)[ =]+)(?P<value>{_QUOTED}|[^\s'\"-][^\s'\"]*)"
_PAIR = r"(?P<start>(?P<quote>['\"])(?P<name>\w[\w-]*)(?P=quote)\s*:\s*)(?P<value>'[^']*'|\"[^\"]*\")"
"""Of JSON, and of a dict as Python prints it."""
_REDIS_CLI = r"(?P<start>\b(?:redis|valkey)-cli\b[^|;&\n]{0,200}?\s-a\s+)\S+"
_BEARER = r"(?i)(?P<start>\bbearer\s+)[\w.~+/-]{8,}=*"
_PEM = r"(?s)(?P<start>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"


def mask(text: str) -> str:
    """`text` with the passwords of its addresses (redis://:secret@host), parameters, options and assignments replaced by ***."""
    if "://" in text:
        text = re.sub(_WORD, _address, text)
    for part, pattern, replaced in _SECRETS:
        if part in text:
            text = re.sub(pattern, replaced, text)
    return re.sub(_BEARER, _masked, text) if "bearer" in text.lower() else text


def mask_value(name: str, value: str) -> str:
    """The value of a variable as it may be shown: nothing of it when its name says that it is a secret."""
    return MASK if value and is_secret(name) else mask(value)


def is_secret(name: str) -> bool:
    """Whether a variable, an option or a key of this name holds a secret. `apiKey` and `api-key` are `API_KEY`."""
    return re.search(_SECRET_NAME, re.sub(_CAMEL, "_", name)) is not None


def _address(word: re.Match[str]) -> str:
    """A password may hold any character, an unquoted @ too: it ends at the last one. (By words, since a pattern for all of it is slow.)"""
    before, at, host = word[0].rpartition("@")
    user = re.search(_USER, before) if at else None
    return f"{before[: user.end()]}{MASK}@{host}" if user else word[0]


def _masked(match: re.Match[str]) -> str:
    return f"{match['start']}{MASK}"


def _named(match: re.Match[str]) -> str:
    return _masked(match) if is_secret(match["name"]) else match[0]


def concealed(text: str, env: Mapping[str, str]) -> str:
    """`text` without the values of those variables that are named like secrets, and the passwords of addresses in the others."""
    values = {each for name, value in env.items() for each in _secrets(name, value) if len(each) >= SHORTEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def _secrets(name: str, value: str) -> Iterator[str]:
    if is_secret(name):
        yield value
    if "://" in value and (login := re.search(_LOGIN, value)):
        for each in (login["password"], login["user"] if is_secret(name) else None):
            if each:
                yield from (each, unquote(each))


_SECRETS = (
    ("PRIVATE KEY", _PEM, _masked),
    ("://", _LONE_TOKEN, _masked),
    ("=", _PARAMETER, _named),
    ("=", _ASSIGNMENT, _named),
    ("-", _OPTION, _named),
    (":", _PAIR, _named),
    ("-cli", _REDIS_CLI, _masked),
)
"""What a text has that may match, the pattern, and what takes its place; in this order."""


def cover(env: Mapping[str, str]) -> Callable[[str], str]:
    """Masks a text of a process that has these variables."""
    return lambda text: mask(concealed(text, env))
