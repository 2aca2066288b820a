"""The entry point: runs a command, and turns what went wrong into an explanation and an exit code."""

from __future__ import annotations

import gc
import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devstack.errors import DevstackError

# Nothing that an import makes is ever garbage, and looking for some takes a tenth of the start. On again in `cli.group` and
# `cli.plain`.
gc.disable()


def main() -> None:
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
    except BrokenPipeError:
        sys.exit(errors.FAILED)
    except Exception as error:
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

    try:
        devstack.main(words, prog_name="devstack", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as exit:
        sys.exit(exit.exit_code)
    except click.Abort:
        sys.exit(errors.INTERRUPTED)


def _tell(error: DevstackError) -> None:
    """Without passwords, and whatever the terminal can write."""
    import click

    from devstack.core.secrets import mask

    click.echo(mask(str(error)), err=True)


if __name__ == "__main__":
    main()
