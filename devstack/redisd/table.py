"""The table of commands: `@command("GET")` above a function puts it there.

Rule 1: the signature is the arity: `def get(client, key)` takes one argument, `def mget(client, key, *keys)` at least one.
Rule 2: a subcommand is a command with a bar in its name: CLIENT|LIST.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from devstack.redisd.protocol import Failure, Reply

Function = TypeVar("Function", bound=Callable[..., Reply])


@dataclass(frozen=True, slots=True)
class Command:
    """`most` is None without an upper bound. `grows`: refused when memory is used up. `scripted`: may be called by a script.

    `subscribed`: allowed to a RESP2 client that is subscribed. `queued`: MULTI puts it off. `open`: needs no login.
    """

    name: bytes
    run: Callable[..., Any]
    least: int
    most: int | None
    grows: bool
    scripted: bool
    subscribed: bool
    queued: bool
    open: bool


COMMANDS: Final[dict[bytes, Command]] = {}
_FAMILIES: Final[set[bytes]] = set()


def command(
    *names: str,
    grows: bool = False,
    scripted: bool = True,
    subscribed: bool = False,
    queued: bool = True,
    open: bool = False,
) -> Callable[[Function], Function]:
    def enter(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        plain = [each for each in parameters if each.kind is not inspect.Parameter.VAR_POSITIONAL]
        least = sum(each.default is inspect.Parameter.empty for each in plain)
        most = len(plain) if len(plain) == len(parameters) else None
        for name in names:
            word = name.encode()
            COMMANDS[word] = Command(word.lower(), function, least, most, grows, scripted, subscribed, queued, open)
            if b"|" in word:
                _FAMILIES.add(word.partition(b"|")[0])
        return function

    return enter


def is_family(name: bytes) -> bool:
    """Whether it has subcommands."""
    return name in _FAMILIES


class Unknown(Failure):
    """A command that is not in the table."""


def look_up(words: Sequence[bytes]) -> tuple[Command, Sequence[bytes]]:
    """The command and its arguments. Failure for what is none, and for a wrong number of arguments."""
    name = words[0].upper()
    arguments = words[1:]
    if name in _FAMILIES and arguments:
        found = COMMANDS.get(b"%b|%b" % (name, arguments[0].upper()))
        if found is None:
            raise Unknown(b"ERR unknown subcommand '%b'. Try %b HELP." % (arguments[0][:128], name))
        return found, _checked(found, arguments[1:])
    found = COMMANDS.get(name)
    if found is None:
        if name in _FAMILIES:
            raise Failure(b"ERR wrong number of arguments for '%b' command" % name.lower())
        seen = b"".join(b"'%b' " % each[:128] for each in arguments)[:128]
        raise Unknown(b"ERR unknown command '%b', with args beginning with: %b" % (words[0][:128], seen))
    return found, _checked(found, arguments)


def _checked(found: Command, arguments: Sequence[bytes]) -> Sequence[bytes]:
    if len(arguments) < found.least or (found.most is not None and len(arguments) > found.most):
        raise Failure(b"ERR wrong number of arguments for '%b' command" % found.name)
    return arguments
