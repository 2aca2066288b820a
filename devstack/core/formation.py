"""How many instances of each service: `worker=2,beat=0`, with `all=1` for those not named."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devstack.errors import DevstackError, did_you_mean

ENTRY = r"([A-Za-z0-9_-]+)=([0-9]{1,4})"


def parse(text: str, known: Sequence[str], where: str = "--formation") -> dict[str, int]:
    """Instances per service named in `known`; services that the text leaves out are absent unless it says `all=N`.

    Raises DevstackError for a malformed entry, an unknown name or a name given twice.
    """
    formation: dict[str, int] = {}
    rest: int | None = None
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(ENTRY, entry)
        if not match:
            raise DevstackError(
                f'"{entry}" is not a formation', why="each entry is NAME=COUNT", fix="-m worker=2,beat=0", where=where
            )
        name, count = match[1], int(match[2])
        if name == "all" and "all" not in known:
            rest = count
        elif name not in known:
            fix = did_you_mean(name, list(known)) or f"the Procfile has {', '.join(known)}"
            raise DevstackError(f'the formation names "{name}", which is not in the Procfile', fix=fix, where=where)
        elif name in formation:
            raise DevstackError(f'the formation names "{name}" twice', where=where)
        else:
            formation[name] = count
    if rest is not None:
        formation = {name: formation.get(name, rest) for name in known}
    return formation
