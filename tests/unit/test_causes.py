from __future__ import annotations

import subprocess
import sys

import pytest

from devstack.core.causes import cause_of

TRACEBACK = """Traceback (most recent call last):
  File "/app/manage.py", line 11, in main
    from django.core.management import execute_from_command_line
ModuleNotFoundError: No module named 'shopp'
"""
RESERVED = (
    "take another port: those below 1024 may be root's, and Windows keeps ranges for itself, "
    "see `netsh interface ipv4 show excludedportrange tcp`"
)
INSTALLED = "is gunicron installed, and is its venv beside the Procfile?"


@pytest.mark.parametrize(
    ("tail", "why", "fix"),
    [
        (TRACEBACK, "exited 1: No module named 'shopp'", 'did you mean "shop"?'),
        (
            "python3: No module named celery\n",
            "exited 1: No module named celery",
            "install it into the project's environment: pip install celery",
        ),
        ("sh: 1: gunicron: not found\n", "exited 1: sh: 1: gunicron: not found", INSTALLED),
        ("bash: line 1: gunicron: command not found", "exited 1: bash: line 1: gunicron: command not found", INSTALLED),
        (
            '  File "a.py", line 2\nSyntaxError: invalid syntax\n',
            "exited 1: SyntaxError: invalid syntax",
            "correct the file",
        ),
        (
            "OSError: [WinError 10013] An attempt was made to access a socket\n",
            "exited 1: OSError: [WinError 10013] An attempt was made to access a socket",
            RESERVED,
        ),
        (
            "Error: You don't have permission to access that port.\n",
            "exited 1: Error: You don't have permission to access that port.",
            RESERVED,
        ),
        ("KeyError: 'SECRET_KEY'\n", "exited 1: KeyError: 'SECRET_KEY'", "set SECRET_KEY in .env"),
    ],
)
def test_what_cannot_be_mended_by_trying_again_is_named_with_its_fix(tail: str, why: str, fix: str) -> None:
    cause = cause_of(1, tail, modules=["shop", "config"])
    assert (cause.why, cause.hopeless, cause.fix) == (why, True, fix)


def test_anything_else_is_told_by_its_last_line_and_tried_again() -> None:
    cause = cause_of(3, "loading\n\x1b[31mConnectionError: no route\x1b[0m\n\n")
    assert (cause.why, cause.hopeless) == ("exited 3: ConnectionError: no route", False)


def test_a_signal_is_named() -> None:
    assert cause_of(-9, "").why == "was killed by SIGKILL, out of memory?"
    assert cause_of(-11, "No module named x").hopeless is False


def test_exit_0_has_no_cause() -> None:
    assert cause_of(0, "KeyError: 'A'").why == "exited 0"


def test_a_misspelt_app_is_recognised_in_the_words_of_every_celery() -> None:
    new = "Usage: celery [OPTIONS] COMMAND [ARGS]...\n\nError: \nUnable to load celery application.\nThe module shopp was not found.\n"
    cause = cause_of(2, new, modules=["shop"])
    assert (cause.why, cause.hopeless, cause.fix) == (
        "exited 2: The module shopp was not found",
        True,
        'did you mean "shop"?',
    )
    missing = "Error: \nUnable to load celery application.\nModule 'shop' has no attribute 'celeri'\n"
    assert cause_of(2, missing).why == "exited 2: Module 'shop' has no attribute 'celeri'"
    assert cause_of(2, missing).hopeless


def test_the_line_with_the_exception_says_more_than_the_last_one() -> None:
    tail = """Traceback (most recent call last):
  File "/app/shop/views.py", line 9, in <module>
    connect()
psycopg.OperationalError: connection to server at "127.0.0.1", port 5432 failed: Connection refused
\tIs the server running on that host and accepting TCP/IP connections?
"""
    cause = cause_of(1, tail, directory="/app")
    assert "OperationalError: connection to server" in cause.why
    assert (cause.hopeless, cause.fix) == (False, "is the database running?")
    other = "Traceback:\nValueError: Unknown format %p in string '%p@%h'.\nor did you escape it twice?\n"
    assert cause_of(1, other).why == "exited 1: ValueError: Unknown format %p in string '%p@%h'."


def test_of_a_group_of_exceptions_the_one_inside_is_told() -> None:
    program = """
import asyncio

async def fails():
    raise ValueError("no such order")

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert cause_of(1, ran.stderr).why == "exited 1: ValueError: no such order"


def test_the_projects_own_line_is_named() -> None:
    tail = """  File "/app/manage.py", line 11, in main
  File "/app/.venv/lib/python3.11/site-packages/django/x.py", line 3, in y
  File "/app/shop/tasks.py", line 53
    def broken(:
SyntaxError: invalid syntax
"""
    assert cause_of(1, tail, directory="/app").why == "exited 1: SyntaxError: invalid syntax (shop/tasks.py:53)"
    assert cause_of(1, tail, directory="/elsewhere").why == "exited 1: SyntaxError: invalid syntax"


def test_the_projects_own_line_is_named_on_windows_too() -> None:
    tail = 'File "C:\\Lib\\site-packages\\x.py", line 2\nFile "C:\\my shop\\orders\\tasks.py", line 7\nValueError: no\n'
    assert cause_of(1, tail, directory="C:\\my shop").why == "exited 1: ValueError: no (orders\\tasks.py:7)"


def test_a_module_that_is_gone_from_a_package_of_the_project_is_named() -> None:
    tail = "ModuleNotFoundError: No module named 'shop.prices'\n"
    assert cause_of(1, tail, modules=["shop", "core"]).fix == "check the name: shop is there, and has no prices"
    assert (
        cause_of(1, tail, modules=["core"]).fix == "install it into the project's environment: pip install shop.prices"
    )
    assert cause_of(1, tail, modules=["shopp"]).fix == 'did you mean "shopp"?'
