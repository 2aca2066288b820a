"""What `devstack up` imports before it starts the first process: a module here is time that a person waits."""

from __future__ import annotations

import os
import subprocess
import sys

LATER = {
    "celery",
    "click",
    "devstack.control.client",
    "devstack.control.desk",
    "devstack.control.server",
    "devstack.core.secrets",
    "devstack.runtime.loopback",
    "devstack.runtime.provision",
    "devstack.runtime.saves",
    "devstack.runtime.watcher",
    "dotenv",
    "hmac",
    "inspect",
    "ipaddress",
    "json",
    "platformdirs",
    "psutil",
    "redis",
    "secrets",
    "shutil",
    "struct",
    "_ssl",
    "ssl",
    "textwrap",
    "tokenize",
    "tomllib",
    "uuid",
    "watchfiles",
}
PROGRAM = """
import gc, sys
sys.argv = ["devstack", "up"]
import devstack.__main__

def imported():
    print(*sys.modules)
    sys.modules["devstack.config.options"].Options.__init__ = stop

def stop(*_, **__):
    print(gc.isenabled())
    import asyncio, inspect, ssl
    print(ssl.OPENSSL_VERSION)
    print(asyncio.iscoroutinefunction(stop), inspect.isfunction(stop))
    sys.exit()

devstack.__main__.gc.freeze = imported
devstack.__main__.main()
"""


def test_what_a_start_may_not_need_is_not_imported_for_it() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DEVSTACK_")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True, env=environ
    )
    modules, collects, ssl, *inspected = done.stdout.splitlines()
    assert "devstack.runtime.supervisor" in modules.split()
    assert not LATER.intersection(modules.split())
    assert collects == "True"
    assert ssl
    assert inspected == ["False True"]
