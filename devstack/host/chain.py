"""Several programs one after the other, as a shell runs `a && b` and `a; b`, where there is no shell: `python -I chain.py STEPS`.

STEPS is JSON: a list of [joiner, directory, variables, words]; the joiner ("&&" or ";") stands before the step.

Rule 1: like the shell it stands for, it exits as the last program that ran did, and 127 is a command that was not found.
Rule 2: what is meant for a program with a line to devstack (`inside/boot`) is for the last step alone.
Rule 3: Ctrl-C reaches them all, as they share a console; whoever runs ends as he likes, and then nothing more is started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PRIVATE = ("CHANNEL", "NODE", "LISTEN", "ROOTS", "STANDBY")
NOT_FOUND, NOT_ABLE, INTERRUPTED = 127, 126, 130


def main(text: str) -> int:
    code, asked = 0, False

    def interrupted(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGINT, interrupted)
    private = {name: os.environ.pop(name) for each in PRIVATE if (name := f"DEVSTACK_{each}") in os.environ}
    steps = json.loads(text)
    for number, (joiner, directory, variables, words) in enumerate(steps, 1):
        if asked:
            return code or INTERRUPTED
        if joiner == "&&" and code:
            continue
        last = private if number == len(steps) else {}
        code = run(words, directory, {**os.environ, **variables, "PWD": directory, **last})
    return code


def run(words: list[str], directory: str, env: dict[str, str]) -> int:
    from devstack.host import here

    if not os.path.isdir(directory):
        print(f"cd: {directory}: no such directory", file=sys.stderr, flush=True)
        return 1
    try:
        return subprocess.call(here().argv(words, False, env, directory), env=env, cwd=directory)
    except FileNotFoundError as error:
        print(f"{error.filename}: command not found", file=sys.stderr, flush=True)
        return NOT_FOUND
    except OSError as error:
        print(f"{words[0]}: {error.strerror or error}", file=sys.stderr, flush=True)
        return NOT_ABLE


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))
    sys.exit(main(sys.argv[1]))
