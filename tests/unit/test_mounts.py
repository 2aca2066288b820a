"""Which file system holds a directory, from the kernel's own table."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.host import mounts

TABLE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs
31 22 0:41 / /srv/my\040files rw shared:5 master:1 - nfs4 server:/files rw
32 31 0:42 / /srv/my\040files/local rw - tmpfs tmpfs rw
33 22 0:43 / /home/me/far rw - fuse.sshfs me@far:/ rw
34 22 0:44 / /srv/twice rw - nfs a:/ rw
35 34 0:45 / /srv/twice rw - xfs /dev/sdb rw
nonsense
36 22 -
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/home/me/shop", "ext4"),
        ("/mnt/c/shop", "9p"),
        ("/mnt/cd", "ext4"),
        ("/srv/my files/shop", "nfs4"),
        ("/srv/my files/local/shop", "tmpfs"),
        ("/home/me/far", "fuse.sshfs"),
        ("/srv/twice/a", "xfs"),
    ],
)
def test_the_deepest_mount_counts(directory: str, kind: str) -> None:
    assert mounts.kind_of(directory, TABLE) == kind


def test_only_the_kinds_that_tell_nothing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mounts.silent(str(tmp_path)) == ""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 1 0:1 / / rw - ext4 a rw\n2 1 0:2 / {tmp_path} rw - cifs b rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", str(table))
    assert mounts.silent(str(tmp_path / "shop")) == "cifs"
    assert mounts.silent("/") == ""
    monkeypatch.setattr(mounts, "MOUNTS", str(tmp_path / "nowhere"))
    assert mounts.silent(str(tmp_path / "shop")) == ""
