"""`devstack completion SHELL`: the script that completes commands, options and the names of the Procfile's processes."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish", "powershell")
INTO = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/devstack.fish",
    "powershell": "$PROFILE",
}
POWERSHELL = """\
Register-ArgumentCompleter -Native -CommandName devstack -ScriptBlock {
    param($word, $line, $position)
    $env:_DEVSTACK_COMPLETE = "powershell_complete"
    $env:COMP_WORDS = $line.ToString()
    $env:COMP_WORD = $word
    try {
        devstack | ForEach-Object {
            $parts = $_ -split "`t", 2
            $help = if ($parts[1]) { $parts[1] } else { $parts[0] }
            [System.Management.Automation.CompletionResult]::new($parts[0], $parts[0], "ParameterValue", $help)
        }
    } finally {
        Remove-Item Env:_DEVSTACK_COMPLETE, Env:COMP_WORDS, Env:COMP_WORD
    }
}
"""


class PowerShell(ShellComplete):
    """What click has not: the words come as one line, each answer is `value<TAB>help`."""

    name = "powershell"
    source_template = POWERSHELL

    def source(self) -> str:
        return POWERSHELL

    def get_completion_args(self) -> tuple[list[str], str]:
        import os

        from click.shell_completion import split_arg_string

        word = os.environ.get("COMP_WORD", "")
        words = split_arg_string(os.environ.get("COMP_WORDS", ""))[1:]
        return (words[:-1] if word and words and words[-1] == word else words), word

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.value}\t{item.help or ''}"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes devstack's words in SHELL. Where it belongs is said on stderr."""
    from devstack.cli.group import devstack

    kind = PowerShell if shell == "powershell" else get_completion_class(shell)
    assert kind
    click.echo(kind(devstack, {}, "devstack", "_DEVSTACK_COMPLETE").source())
    how = {"fish": "devstack completion fish > ", "powershell": "devstack completion powershell >> "}
    command = how.get(shell) or f"echo 'eval \"$(devstack completion {shell})\"' >> "
    click.echo(f"# once: {command}{INTO[shell]}", err=True)
