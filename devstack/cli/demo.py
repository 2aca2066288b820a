"""`devstack demo`: the demo shop in a directory, and `devstack up` on it. `--check` proves that it works, and leaves."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from pathlib import Path

import click

from devstack.demo.layout import lay_out
from devstack.errors import DevstackError

WEB, FLOWER = 8000, 5555


@click.command()
@click.argument("directory", default="demo-shop", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Leave once everything is ready and an order came back; exit 0 if it did.")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(1, 65535),
    envvar="DEVSTACK_PORT",
    help=f"Where the shop answers. [default: {WEB}, or the next free one]",
)
def demo(directory: Path, check: bool, port: int | None) -> None:
    """Put a small Django + Celery shop into DIRECTORY (./demo-shop) and run it. A second time it is used as it is."""
    directory = directory.absolute()
    _require("django", "flower")
    is_new = lay_out(directory)
    click.echo(f"{'created' if is_new else 'using'} the demo shop in {directory}")
    web = port or _free(WEB, "the shop")
    os.environ.update(_variables(_free(FLOWER, "Flower")))
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    arguments = ["-C", str(directory), "-p", str(web)]
    if check:
        from devstack.demo.proof import prove

        prove(arguments, f"http://127.0.0.1:{web}/", click.echo)
        return
    from devstack.cli.up import up

    up.main(arguments, prog_name="devstack up", standalone_mode=False)


def _require(*modules: str) -> None:
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        fix = f'{sys.executable} -m pip install "devstack[demo]"'
        raise DevstackError(
            f"the demo shop needs {' and '.join(missing)}", why="not installed beside devstack", fix=fix
        )


def _variables(flower: int) -> dict[str, str]:
    """The shop has no venv of its own: it runs in ours, whether that is active or not."""
    found = {"FLOWER_PORT": str(flower)}
    found["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if sys.prefix != sys.base_prefix:
        found["VIRTUAL_ENV"] = sys.prefix
    return found


def _free(wanted: int, what: str) -> int:
    """The first port from `wanted` on where nobody answers: a demo should not fail because a runserver is on 8000 already."""
    for port in range(wanted, wanted + 100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if port != wanted:
                click.echo(f"port {wanted} is taken, so {what} is at {port}")
            return port
    raise DevstackError(f"the ports {wanted} to {wanted + 99} are all taken", fix="devstack demo --port PORT")
