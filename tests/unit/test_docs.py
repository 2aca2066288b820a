"""The documents say what is true: their commands exist with these options, their examples are accepted, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import devstack
from devstack.cli import COMMANDS
from devstack.cli.group import devstack as program
from devstack.config import procfile, settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
OTHERS = {"pip install .", ".venv-test/bin/python -m pytest tests/unit"}
"""Commands of other programs, which are run by hand."""


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(name), re.S | re.M)


def commands() -> Iterator[tuple[str, str]]:
    """Each command that a document shows, in a block or in a sentence, with the document's name."""
    for name in DOCUMENTS:
        for block in blocks(name, "console"):
            for line in block.splitlines():
                assert line.startswith("$ "), f"{name}: {line}"
                yield name, line[2:]
        for line in re.findall(r"`(devstack [^`]+)`", text(name)):
            yield name, line


@pytest.mark.parametrize(("document", "line"), sorted(set(commands())))
def test_a_command_in_a_document_exists_and_has_these_options(document: str, line: str) -> None:
    match shlex.split(line):
        case ["devstack", *arguments]:
            accepted(arguments)
        case ["python" | ".venv-test/bin/python", script, *options] if script.startswith("scripts/"):
            source = text(script)
            missing = [each for each in options if each.startswith("--") and each not in source]
            assert not missing
        case _:
            assert line in OTHERS


def accepted(arguments: list[str]) -> None:
    """click takes the words, without anything being run."""
    context = click.Context(program, info_name="devstack")
    known = {spelling for each in program.params for spelling in each.opts}
    while arguments and arguments[0].startswith("-"):
        assert arguments.pop(0) in known
    if arguments:
        name, command, words = program.resolve_command(context, arguments)
        assert name in COMMANDS
        assert command
        command.make_context(name, words, parent=context)


def test_an_option_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        accepted(["up", "--no-such-option"])
    with pytest.raises(click.UsageError):
        accepted(["pu"])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_a_document_mentions_belongs_to_a_command_or_a_script(document: str) -> None:
    known = {"--help"} | {
        option for script in ROOT.glob("scripts/**/*.py") for option in options_in(script.read_text("utf-8"))
    }
    context = click.Context(program)
    for command in [program, *(program.get_command(context, name) for name in COMMANDS)]:
        assert command
        known |= {spelling for each in command.params for spelling in [*each.opts, *each.secondary_opts]}
    celery = {"--queues", "--pool"}
    mentioned = {option for code in re.findall(r"`([^`\n]+)`", text(document)) for option in options_in(code)}
    assert mentioned - known - celery == set()


def options_in(source: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", source))


def test_the_readme_begins_with_the_two_commands() -> None:
    first = text("README.md").split("```")[1]
    assert first == "console\n$ python scripts/demo.py\n$ python scripts/test.py\n"


def test_its_procfile_is_accepted_and_every_line_recognised(tmp_path: Path) -> None:
    (block,) = blocks("README.md", "Procfile")
    (tmp_path / "Procfile").write_text(block)
    # In an active environment with Celery it would be asked for the app, and there is none.
    done = CliRunner(env={"VIRTUAL_ENV": None, "PATH": os.defpath}).invoke(program, ["check", "-C", str(tmp_path)])
    assert done.exit_code == 0, done.output
    entries, notes = procfile.parse(block, "README.md")
    assert not notes
    kinds = {row.split()[0]: row for row in done.output.splitlines()[2:] if row}
    for entry, kind in zip(
        entries, ["django runserver", "django migrate", "celery worker", "celery beat", "flower"], strict=True
    ):
        assert kind in kinds[entry.name]


def test_its_settings_are_accepted(tmp_path: Path) -> None:
    (block,) = blocks("README.md", "toml")
    (tmp_path / "devstack.toml").write_text(block)
    read = settings.read(tmp_path)
    assert read.ready_within == 120
    assert read.process("worker").instances == 2


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_the_links_lead_somewhere(document: str) -> None:
    places = [place for place in re.findall(r"\]\(([^)#]+)\)", text(document)) if "://" not in place]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_what_contributing_says_about_the_folders_is_all_there_is() -> None:
    told = set(re.findall(r"^\| `devstack/(\w+)/` \|", text("CONTRIBUTING.md"), re.M))
    assert told == {each.parent.name for each in (ROOT / "devstack").glob("*/__init__.py")}


def test_the_changelog_speaks_of_this_version() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", text("CHANGELOG.md"), re.M)
    assert headings[0] in ("Unreleased", devstack.__version__)


def test_what_the_code_knows_stands_in_the_documents() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
