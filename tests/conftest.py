import contextlib
import os
import signal
from pathlib import Path

import pytest

BARE = str(Path(__file__).parent / "support" / "bare")
"""On PYTHONPATH, it takes away what only Linux has."""
LINUX_ALONE = (
    "faults",
    "faults_limits",
    "nothing_is_left_behind",
    "standby",
    "inside_gate",
    "inside_gate_real",
    "inside_gate_same",
    "watched_program",
)
"""Tests of that: daemons are found in /proc, and spares are forked. What is left of it in `test_bare`."""


def pytest_configure(config: pytest.Config) -> None:
    """nohup and a shell's `&` have signals ignored, which children inherit, and devstack respects; the tests send them."""
    for name, handler in (
        ("SIGHUP", signal.SIG_DFL),
        ("SIGQUIT", signal.SIG_DFL),
        ("SIGINT", signal.default_int_handler),
    ):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    if config.getoption("--bare"):
        os.environ["PYTHONPATH"] = BARE
    with contextlib.suppress(ImportError):  # it is not there among the Windows tests
        import hypothesis

        # The same examples each time, or a test would fail for somebody who has changed nothing; --soak looks for new ones.
        hypothesis.settings.register_profile("same", derandomize=True, database=None)
        hypothesis.settings.load_profile("default" if config.getoption("--soak") else "same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the long random histories and kill schedules")
    parser.addoption("--bare", action="store_true", help="run devstack without what only Linux has: see support/bare")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--bare"):
        for item in items:
            if item.path.stem.removeprefix("test_") in LINUX_ALONE:
                item.add_marker(pytest.mark.skip(reason="about what --bare takes away"))
    if not config.getoption("--soak"):
        for item in items:
            if "soak" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="long; run with --soak"))
