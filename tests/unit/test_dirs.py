"""Where devstack keeps what does not belong into a project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devstack.config import dirs

linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="about Linux")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As systemd makes it at a login."""
    made = tmp_path / str(os.stat("/proc/self").st_uid)
    made.mkdir(0o700)
    monkeypatch.setattr(dirs, "LOGINS", str(tmp_path))
    return str(made)


@linux
@pytest.mark.parametrize("state", ["", "/var/tmp/some where", "relative"])
def test_the_short_way_says_what_platformdirs_says(state: str, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/home/ann", "XDG_STATE_HOME": state, "XDG_RUNTIME_DIR": runtime}.items():
        monkeypatch.setenv(name, value)
    assert dirs._on_linux(os.environ) == (None if state == "relative" else dirs._anywhere())


@linux
def test_what_is_no_usual_runtime_directory_is_left_to_platformdirs(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert dirs._on_linux({"HOME": "/home/ann", "XDG_RUNTIME_DIR": str(tmp_path)}) is None
    assert dirs._on_linux({"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/4294967"}) is None


@linux
def test_without_a_runtime_directory_all_is_in_the_state_directory() -> None:
    kept, living = dirs.state("/tmp", {"HOME": "/home/ann"})
    assert kept == living
    assert kept.startswith("/home/ann/.local/state/devstack/tmp-")


def test_one_variable_moves_both(tmp_path: Path) -> None:
    kept, living = dirs.state("/tmp", {"DEVSTACK_STATE_DIR": str(tmp_path)})
    assert kept == living
    assert Path(kept).parent == tmp_path
