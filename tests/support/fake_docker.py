"""A `docker` for machines without its daemon: `directory = fake_docker.install(tmp_path / "bin")`, and that first on PATH.

`run` reads the configuration of a Redis from its input as the official image does, and really starts one, which outlives the client as a
container does. What its client cannot do without a daemon, a registry or an image, it says in the words of Docker 28. It keeps what it
knows in the same directory: `images`, `containers/NAME` (the server's pid), `calls` (each command line).
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from tests.support.redis_server import any_server

NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NOT_ALLOWED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/version": dial unix /var/run/docker.sock: connect: permission denied'
)
NO_NETWORK = (
    'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: '
    "lookup registry-1.docker.io on 127.0.0.53:53: server misbehaving"
)
NO_SUCH_IMAGE = "Error response from daemon: pull access denied for {image}, repository does not exist or may require 'docker login'"
PROGRAM = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import os, pathlib, signal, subprocess, sys, time
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
says = lambda name: (here / name).read_text() if (here / name).exists() else ""

def fail(text, code=1):
    print(text, file=sys.stderr)
    sys.exit(code)

if daemon := says("daemon-fails"):
    fail(daemon)
if words[0] == "version":
    print("28.2.2")
elif words[:2] == ["image", "inspect"]:
    if words[2] not in says("images").split():
        fail("Error response from daemon: No such image: " + words[2])
elif words[0] == "pull":
    if why := says("pull-fails"):
        fail(why.format(image=words[-1]))
    with (here / "images").open("a") as images:
        images.write(words[-1] + "\\n")
elif words[:2] == ["rm", "--force"]:
    container = here / "containers" / words[2]
    if not container.exists():
        fail("Error response from daemon: No such container: " + words[2], 0)
    os.kill(int(container.read_text()), signal.SIGKILL)
    container.unlink()
    print(words[2])
elif words[0] == "run":
    value = lambda name: words[words.index(name) + 1]
    container = here / "containers" / value("--name")
    container.parent.mkdir(exist_ok=True)
    if container.exists():
        fail('docker: Error response from daemon: Conflict. The container name "/%s" is already in use' % value("--name"), 125)
    address, port, inner = value("--publish").rsplit(":", 2)
    assert (inner, words[-1]) == ("6379", "-"), words
    given = sys.stdin.read()
    assert "port 6379\\n" in given and "bind 0.0.0.0\\n" in given and "dir /data\\n" in given, given
    data = here / "data"
    data.mkdir(exist_ok=True)
    kept = [line for line in given.splitlines() if line.split()[0] not in ("port", "bind", "dir")]
    conf = "\\n".join([*kept, "port " + port, "bind " + address, 'dir "%s"' % data]) + "\\n"
    # The daemon starts it: not our child in any respect.
    server = subprocess.Popen(
        [{server!r}, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={{"PATH": os.environ["PATH"]}},
        cwd=data, start_new_session=True,
    )
    server.stdin.write(conf.encode())
    server.stdin.close()
    container.write_text(str(server.pid))
    if not says("deaf"):
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = server.wait()
    container.unlink(missing_ok=True)
    sys.exit(code)
else:
    fail("docker: %r is not a docker command." % words[0])
"""


def install(directory: Path, images: str = "redis:7-alpine") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "docker"
    program.write_text(PROGRAM.format(python=sys.executable, server=any_server()))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (directory / "images").write_text(images + "\n")
    return directory


def path(directory: Path) -> str:
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


def containers(directory: Path) -> dict[str, int]:
    """Those that run, with the pid of their server."""
    found = {}
    for each in (directory / "containers").glob("*"):
        pid = int(each.read_text())
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
            found[each.name] = pid
    return found


def calls(directory: Path) -> list[str]:
    return (directory / "calls").read_text().splitlines() if (directory / "calls").exists() else []
