"""On which file systems nobody tells that a file has changed.

Rule: what lies on another machine, or on the other side of a virtual one, may be changed there; this kernel then has nothing to tell.
Sources: inotify(7), "Limitations and caveats"; WSL issue 4739 for 9p and drvfs.
"""

from __future__ import annotations

import os
import re

SILENT = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "davfs", "coda"),
    *("9p", "drvfs", "vboxsf", "vmhgfs", "prl_fs", "prl_fs_freeze", "virtiofs", "fakeowner"),
    *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs"),
}
MOUNTS = "/proc/self/mountinfo"


def silent(directory: str) -> str:
    """The kind of file system under `directory` if it does not tell of changes; empty where it does, or where nobody says."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            kind = kind_of(os.path.realpath(directory), file.read())
    except OSError:
        return ""
    return kind if kind in SILENT else ""


def kind_of(directory: str, mounts: str) -> str:
    """The kind of file system that holds `directory`, as the text of mountinfo says: the deepest mount point, the last one there."""
    best, kind = "", ""
    for line in mounts.splitlines():
        # 36 35 98:0 /root /mount/point options … - type source options
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        inside = directory == point or directory.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind
