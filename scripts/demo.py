"""The demo from a bare checkout: makes .venv, installs devstack into it, and runs `devstack demo` with what is given here.

    python scripts/demo.py [DIR] [--check] [--port PORT]

Needs Python 3.11 or newer and nothing else. An older one, which can read this file, says so.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("error: devstack needs Python 3.11 or newer, and this is %d.%d" % sys.version_info[:2])  # noqa: UP031

import environment

with environment.explained():
    python = environment.ready(".venv", [".[demo]"])
    environment.become([python, "-P", "-m", "devstack", "demo"] + sys.argv[1:])  # noqa: RUF005
