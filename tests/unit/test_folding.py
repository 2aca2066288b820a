from __future__ import annotations

from devstack.core.folding import folded

FAILED_IMPORT = """\
Performing system checks...
Traceback (most recent call last):
  File "/home/ada/shop/.venv/bin/celery", line 8, in <module>
    sys.exit(main())
             ^^^^^^
  File "<frozen importlib._bootstrap>", line 1204, in _gcd_import
  File "/home/ada/shop/.venv/lib/python3.12/site-packages/celery/__main__.py", line 15, in main
    sys.exit(_main())
  File "/home/ada/shop/orders/tasks.py", line 30, in <module>
    import nosuchmodule
ModuleNotFoundError: No module named 'nosuchmodule'
""".splitlines()


def test_frames_of_libraries_are_left_out() -> None:
    assert folded(FAILED_IMPORT) == [
        "Performing system checks...",
        "Traceback (most recent call last):",
        '  File "/home/ada/shop/.venv/bin/celery", line 8, in <module>',
        "    sys.exit(main())",
        "             ^^^^^^",
        '  File "/home/ada/shop/orders/tasks.py", line 30, in <module>',
        "    import nosuchmodule",
        "ModuleNotFoundError: No module named 'nosuchmodule'",
    ]


def test_a_traceback_without_a_frame_of_ones_own_is_kept_whole() -> None:
    foreign = [
        "Traceback (most recent call last):",
        '  File "/usr/lib/python3.11/runpy.py", line 198, in _run_module_as_main',
        "    return _run_code(code)",
        "ValueError: x",
    ]
    assert folded(foreign) == foreign


def test_the_place_of_a_syntax_error_stays() -> None:
    lines = [
        '  File "/usr/lib/python3.11/runpy.py", line 198, in _run_module_as_main',
        "    return _run_code(code)",
        '  File "/home/ada/shop/tasks.py", line 3',
        "    def broken(:",
        "               ^",
        "SyntaxError: invalid syntax",
    ]
    assert folded(lines) == lines[2:]


def test_what_is_no_traceback_stays_as_it_is() -> None:
    lines = ["    indented", "", "File x", '  a "File" in words', "\x1b[31mred\x1b[0m"]
    assert folded(lines) == lines
    assert folded([]) == []
