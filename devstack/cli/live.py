"""What the commands share that drive a running stack: where it is, and what is said when it is not there or says no."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from devstack.config import dirs
from devstack.control import client
from devstack.errors import FAILED, DevstackError

F = TypeVar("F", bound=Callable[..., Any])
NOTHING_RUNS = 3


directory_option = click.option(
    "-C", "--directory", metavar="DIR", envvar="DEVSTACK_DIRECTORY", help="The project. [default: here or above]"
)


def place_options(command: F) -> F:
    """Adds -f and -C. The command takes them as `procfile` and `directory`, and passes them to `Place`."""
    procfile = click.option(
        "-f",
        "--procfile",
        metavar="FILE",
        envvar="DEVSTACK_PROCFILE",
        help="The Procfile that the stack was started with.",
    )
    return directory_option(procfile(command))


class Place:
    """A project and its directories, whether or not a stack runs there."""

    def __init__(self, procfile: str | None, directory: str | None) -> None:
        if directory is not None:
            if not os.path.isdir(directory):
                raise DevstackError(f"{directory} is not a directory", where="--directory")
            self.project = os.path.realpath(directory)
        elif procfile is not None:
            if not os.path.isfile(procfile):
                raise DevstackError(f"{procfile} does not exist", where="--procfile")
            self.project = os.path.dirname(os.path.realpath(procfile))
        else:
            self.project = dirs.nearest(os.path.realpath(os.curdir))
        state, self.runtime = dirs.state(self.project, os.environ)
        self.logs = Path(state, "logs")

    def ask(self, do: str, within: float | None = None, **more: object) -> Iterator[dict[str, object]]:
        """Every answer; DevstackError for whatever is wrong."""
        with self.explained():
            yield from client.ask(self.runtime, do, within, **more)

    def one(self, do: str, **more: object) -> dict[str, object]:
        """The answer to a question that has just one."""
        first, *_ = self.ask(do, client.ANSWERS_WITHIN, **more)
        return first

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except client.NotRunning:
            what, fix = f"nothing runs in {self.project}", "start it: devstack up"
            raise DevstackError(what, fix=fix, code=NOTHING_RUNS) from None
        except client.Refused as no:
            raise DevstackError(no.what, why=no.why, fix=no.fix, code=no.code) from None
        except client.Lost:
            raise DevstackError("the stack has ended", why="it was stopped or killed meanwhile", code=FAILED) from None
        except TimeoutError:
            raise DevstackError("the stack does not answer", fix="look at its terminal", code=FAILED) from None
