"""`devstack up` as it is typed most often, without click, whose import takes as long as starting ten processes.

It runs when what was typed leaves nothing to interpret: names, and `-f FILE`. In every other case click reads it, and can explain.
"""

from __future__ import annotations

import gc
import os

NO_OPTIONS = {"DEVSTACK_STATE_DIR"}
"""Variables of ours that stand for no option of `up`."""


def up(words: list[str]) -> None:
    """Comes back when it was something else."""
    if words[:1] != ["up"] or any(name.startswith("DEVSTACK_") for name in os.environ.keys() - NO_OPTIONS):
        return
    names, procfile = list(words[1:]), None
    if "-f" in names[:-1]:
        place = names.index("-f")
        _, procfile = names.pop(place), names.pop(place)
    if any(not word or word.startswith("-") for word in [*names, procfile or "Procfile"]):
        return
    from devstack.cli import session
    from devstack.cli.look import look
    from devstack.cli.options import surroundings
    from devstack.config.options import Options
    from devstack.host.orphans import new_run

    gc.freeze()
    gc.enable()
    seen = look(timestamps=True, prefix=True, color=None, only=(), hidden=(), as_json=False)
    session.run(
        Options(names=tuple(names), procfile=procfile, colour=seen.colour, run=new_run(), **surroundings()), seen
    )
