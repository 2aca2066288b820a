"""All tests, from a bare checkout: makes .venv-test, installs what tests need, checks (scripts/check.py) and runs pytest with coverage.

    python scripts/test.py [--here] [--soak] [--bare] [arguments for pytest]
    python scripts/test.py --wine [arguments for pytest]

Several tests run at once; with --soak, which adds the long random histories, or with arguments for pytest one runs after the other. With
such arguments, which may choose a few tests, the coverage is not judged. --here uses the running Python and installs nothing. --bare runs
the end-to-end tests without what only Linux has, as a Mac would; --wine those of tests/windows on a CPython for Windows, under wine
(`wine.py`).
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("error: devstack needs Python 3.11 or newer, and this is %d.%d" % sys.version_info[:2])  # noqa: UP031

import suite

suite.main(sys.argv[1:])
