"""Whether there is a Linux beside this Windows, by a key of the test's own. (There is none under wine; what runs in WSL is tested with a
stand-in, in tests/integration/test_wsl.py.)"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.host import wsl
from devstack.runtime import wsl as runtime
from tests.support.redis_server import eventually
from tests.support.windows import MARK, marked, pythons

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows, or wine: scripts/test.py --wine")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """In place of the real one; it is not there yet."""
    assert sys.platform == "win32"
    import winreg

    name = rf"Software\devstack-test-{uuid.uuid4().hex}"
    monkeypatch.setattr(wsl, "KEY", name)
    yield name
    for each in (rf"{name}\{{1}}", name):
        winreg.DeleteKey(winreg.HKEY_CURRENT_USER, each)


def test_the_default_distribution_is_told(key: str) -> None:
    assert sys.platform == "win32"
    import winreg

    assert wsl.distribution() == ""
    with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as all_of_them:
        assert wsl.distribution() == ""
        winreg.SetValueEx(all_of_them, "DefaultDistribution", 0, winreg.REG_SZ, "{1}")
        assert wsl.distribution() == ""
        with winreg.CreateKey(all_of_them, "{1}") as one:
            winreg.SetValueEx(one, "DistributionName", 0, winreg.REG_SZ, "Debian (é)")
    assert wsl.distribution() == "Debian (é)"


def test_what_was_tried_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a wsl.exe from the store, the stand-in starts another program, which waits for the end of its input."""
    (tmp_path / "wsl.cmd").write_bytes(b'@python "%~dp0stand_in.py" %*\r\n')
    (tmp_path / "stand_in.py").write_text(
        "import os, sys, time\n"
        "print('Redis server v=7.0.15 sha=0', flush=True)\n"
        "if '--version' not in sys.argv:\n"
        "    open(os.path.join(os.path.dirname(__file__), 'tried'), 'w').write(' '.join(os.listdir()))\n"
        "    time.sleep(1000)\n"
    )
    monkeypatch.setattr(runtime, "PROGRAM", "wsl.cmd")
    monkeypatch.setattr(runtime, "ANSWERS_WITHIN", 10.0)
    monkeypatch.setattr(wsl, "distribution", lambda: "Debian")
    mark = uuid.uuid4().hex
    env = {**os.environ, "PATH": os.pathsep.join([str(tmp_path), *pythons(), os.environ["PATH"]]), MARK: mark}
    program, version, why = asyncio.run(runtime.find(env))
    assert (program, version) == ("", None)
    assert why == "the redis-server in WSL (Debian) cannot be used: it does not answer on 127.0.0.1"
    assert {runtime.SCRIPT, runtime.CONFIGURATION} <= set((tmp_path / "tried").read_text("utf-8").split())
    eventually(lambda: not marked(mark), "what was tried is left")  # the system ends a job at its own pace
