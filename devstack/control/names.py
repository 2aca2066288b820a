"""Which processes somebody means: `web.1`, `worker` for all its instances, `work*`, `*.1`."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from devstack.core.model import Process
from devstack.core.names import listing
from devstack.errors import DevstackError, did_you_mean


def chosen(processes: Sequence[Process], names: Sequence[str]) -> list[Process]:
    """In the order of the stack; all when there are no `names`. DevstackError for a name that means nobody."""
    if not names:
        return list(processes)
    found: set[str] = set()
    for name in names:
        meant = [
            p.name for p in processes if fnmatch.fnmatchcase(p.name, name) or fnmatch.fnmatchcase(p.service.name, name)
        ]
        if not meant:
            services = list(dict.fromkeys(p.service.name for p in processes))
            fix = did_you_mean(name, [*services, *(p.name for p in processes)]) or f"there are: {listing(services)}"
            raise DevstackError(f'there is no process "{name[:80]}"', fix=fix)
        found.update(meant)
    return [p for p in processes if p.name in found]
