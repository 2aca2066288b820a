"""Whether there is a Linux beside this Windows, by a key of the test's own. (There is none under wine; what runs in WSL is tested with a
stand-in, in tests/integration/test_wsl.py.)"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator

import pytest

from devstack.host import wsl

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
