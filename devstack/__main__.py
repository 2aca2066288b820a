"""The entry point: runs a command, and turns what went wrong into an explanation and an exit code."""

from __future__ import annotations

import gc
import sys

# Nothing that an import makes is ever garbage, and looking for some takes a tenth of the start. On again in `cli.Lazy`.
gc.disable()


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["ps"]:
        from devstack.control import instant

        if words in instant.PLAIN and instant.ps(words):
            return
    run(words)


def run(words: list[str]) -> None:
    import traceback

    import click

    from devstack import errors
    from devstack.cli import devstack

    # Legal behind the command too, as people expect; not behind "--", where another program's words begin.
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end]
    words = [word for word in words[:end] if word != "--debug"] + words[end:]
    try:
        devstack.main(words, prog_name="devstack", standalone_mode=False)
    except errors.DevstackError as error:
        if debug:
            traceback.print_exc()
        from devstack.core.secrets import mask

        # What it quotes may be a line of .env.
        click.echo(mask(str(error)), err=True)
        sys.exit(error.code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as exit:
        sys.exit(exit.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(errors.INTERRUPTED)
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
        from devstack.core.secrets import mask

        click.echo(mask(str(bug)), err=True)
        sys.exit(errors.FAILED)


if __name__ == "__main__":
    main()
