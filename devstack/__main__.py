"""The entry point: runs a command, and turns what went wrong into an explanation and an exit code."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` takes longer to import
import errno
import gc
import io
import os
import sys

TYPE_CHECKING = False  # to import typing takes so long that a Ctrl-C may come meanwhile, before anybody catches it
if TYPE_CHECKING:
    from typing import NoReturn

    import click

    from devstack.errors import DevstackError

# Nothing that an import makes is ever garbage, and looking for some takes a tenth of the start. On again in `cli.group` and
# `cli.plain`.
gc.disable()


def main() -> None:
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until somebody is there to hear it, Ctrl-C just ends us: a KeyboardInterrupt that comes within an import may get lost in it.
        # Undone in `cli.group`, and by whoever listens to signals.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it: >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # On Windows a pipe would get the bytes of some old code page, or an error for what that lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    words = sys.argv[1:]
    try:
        if words[:1] == ["ps"]:
            from devstack.control import instant

            if words in instant.PLAIN and instant.ps(words):
                return
        run(words)
    except KeyboardInterrupt:  # while the first of it is imported, too
        sys.exit(130)


def run(words: list[str]) -> None:
    from devstack import errors
    from devstack.cli import plain

    # Legal behind the command too, as people expect; not behind "--" or "run", where another program's words begin.
    end = words.index("--") if "--" in words else len(words)
    end = words.index("run") if "run" in words[: min(2, end)] else end
    debug = "--debug" in words[:end]
    words = [word for word in words[:end] if word != "--debug"] + words[end:]
    try:
        plain.up(words)
        _with_click(words)
    except errors.DevstackError as error:
        if debug:
            import traceback

            traceback.print_exc()
        _tell(error)  # what it quotes may be a line of .env
        sys.exit(error.code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC) and error.filename is None:
            _unread(error)
        if debug:
            raise
        bug = errors.DevstackError(
            "devstack failed in a way it should not",
            why=f"{type(error).__name__}: {error}",
            fix="run it again with --debug and report what it prints",
        )
        _tell(bug)
        sys.exit(errors.FAILED)


def _with_click(words: list[str]) -> None:
    import click

    from devstack import errors
    from devstack.cli.group import devstack

    output = sys.stdout
    try:
        devstack.main(words, prog_name="devstack", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.BadParameter) and (variable := _variable(error, words)):
            click.echo(f"It comes from the variable {variable}.", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as exit:
        sys.exit(exit.exit_code)
    except click.Abort:
        sys.exit(errors.INTERRUPTED)
    except SystemExit as exit:
        # When nobody reads what is printed, click replaces the stream and says 1.
        sys.exit(exit.code if sys.stdout is output else errors.UNREAD)


def _variable(error: click.BadParameter, words: list[str]) -> str:
    """The variable that has the wrong value; empty when the value was typed."""
    param = error.param
    if param is None or not isinstance(param.envvar, str) or not os.environ.get(param.envvar):
        return ""
    typed = any(word.startswith(name) for word in words for name in param.opts)
    return "" if typed else param.envvar


def _unread(error: OSError) -> NoReturn:
    """Our output cannot be written any more."""
    from devstack import errors

    # What is still in Python's own buffers would be written at the end, and fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:
        sys.exit(errors.UNREAD)
    _tell(errors.DevstackError(f"the output cannot be written: {error.strerror}"))
    sys.exit(errors.FAILED)


def _tell(error: DevstackError) -> None:
    """Without passwords, and whatever the terminal can write."""
    import click

    from devstack.core.secrets import mask

    click.echo(mask(str(error)), err=True)


if __name__ == "__main__":
    main()
