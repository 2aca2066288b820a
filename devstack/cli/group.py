"""The program that has all commands, for click."""

from __future__ import annotations

import gc
import importlib
import os
import signal

import click
import click.shell_completion

from devstack import __version__
from devstack.cli import COMMANDS, MODULES


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"devstack.cli.{MODULES.get(cmd_name, cmd_name)}"), cmd_name)
        assert isinstance(command, click.Command)
        gc.freeze()
        gc.enable()
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from devstack.errors import did_you_mean

            near = did_you_mean(args[0], list(COMMANDS))
            raise click.UsageError(f"{error.message} {near}".strip(), ctx) from None


if os.environ.get("_DEVSTACK_COMPLETE", "").startswith("powershell"):
    from devstack.cli.completion import PowerShell

    click.shell_completion.add_completion_class(PowerShell)


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "DEVSTACK"})
@click.version_option(__version__, prog_name="devstack", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks instead of explanations.")
def devstack(debug: bool) -> None:
    """The local process supervisor and dev launcher for Django, Celery and Redis."""
