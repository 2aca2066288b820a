"""What `devstack up` imports before it starts the first process: a module here is time that a person waits."""

from __future__ import annotations

import subprocess
import sys

LATER = {
    "celery",
    "devstack.core.secrets",
    "devstack.runtime.loopback",
    "devstack.runtime.provision",
    "devstack.runtime.saves",
    "devstack.runtime.watcher",
    "dotenv",
    "hmac",
    "json",
    "platformdirs",
    "psutil",
    "redis",
    "secrets",
    "shutil",
    "tomllib",
    "uuid",
    "watchfiles",
}
PROGRAM = """
import gc, sys
import devstack.__main__
from devstack.cli import devstack
devstack.get_command(None, "up")
print(gc.isenabled(), *sys.modules)
"""


def test_what_a_start_may_not_need_is_not_imported_for_it() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True)
    collects, *modules = done.stdout.split()
    assert not LATER.intersection(modules)
    assert collects == "True"
