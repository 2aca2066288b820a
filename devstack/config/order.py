"""Who waits for whom: the needs of the settings, else the roles that a kind starts after, mapped to the services that are there.

Rule 1: needs of the settings replace those of the kind.
Rule 2: one-shots run one after the other, in the order of the Procfile (two migrations at once lock each other out).
Rule 3: "redis" may be needed although no line is called so: devstack may start one, see `with_redis`.
Rule 4: a process called redis that nobody recognises (`docker compose up redis`) is taken at its word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from devstack.core.model import Service
from devstack.core.names import listing
from devstack.core.record import Record, replace
from devstack.errors import DevstackError, did_you_mean

REDIS = "redis"
CALLED_REDIS = ("redis", "valkey", "redis-server")


class Wish(Record):
    """What one service waits for: by name (the settings, with the place that says so) or by role (its kind)."""

    names: tuple[str, ...] | None
    roles: tuple[str, ...]
    where: str = ""


class Ordered(Record):
    services: list[Service]
    waits_for_redis: frozenset[str]
    """Services that are to wait for a Redis that devstack adds."""
    notes: tuple[str, ...]


def order(services: Sequence[Service], wishes: Mapping[str, Wish], left_out: Iterable[str]) -> Ordered:
    """The services with their needs. `left_out` are names that exist and do not run."""
    absent = set(left_out)
    here = {service.name: _role(service) for service in services}
    waiting, notes, ordered = set(), [], []
    for service in services:
        wish = wishes[service.name]
        if wish.names is None:
            needs = _by_role(service.name, here, wish.roles)
            if REDIS in wish.roles:
                waiting.add(service.name)
        else:
            needs = []
            for name in dict.fromkeys(wish.names):
                if name in here:
                    needs.append(name)
                elif name in absent:
                    notes.append(f"{service.name} does not wait for {name}, which is left out")
                elif name == REDIS:
                    waiting.add(service.name)
                else:
                    known = [*here, *sorted(absent)]
                    fix = did_you_mean(name, known) or f"there are {', '.join(known)}"
                    raise DevstackError(
                        f'{service.name} needs "{name}", which does not exist', fix=fix, where=wish.where
                    )
        ordered.append(replace(service, needs=tuple(needs)))
    _refuse_cycle(ordered, wishes)
    return Ordered(ordered, frozenset(waiting), tuple(notes))


def with_redis(services: Sequence[Service], redis: Service, waiting: Iterable[str]) -> list[Service]:
    """The services with `redis` in front; those in `waiting` need it."""
    waiting = set(waiting)
    return [
        redis,
        *(
            replace(each, needs=(redis.name, *each.needs))
            if each.name in waiting and redis.name not in each.needs
            else each
            for each in services
        ),
    ]


def closure(names: Iterable[str], services: Sequence[Service]) -> list[str]:
    """`names` and all that they need, in the services' order."""
    needs = {service.name: service.needs for service in services}
    found: set[str] = set()
    open_ = list(names)
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_ += needs[name]
    return [name for name in needs if name in found]


def _by_role(name: str, all_roles: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """Those of the wanted roles; and one-shots run in the order of the Procfile."""
    own, names = all_roles[name], list(all_roles)
    earlier = {each for each in names[: names.index(name)] if all_roles[each] == "oneshot"} if own == "oneshot" else ()
    return [each for each, role in all_roles.items() if each in earlier or (role in wanted and role != own)]


def _role(service: Service) -> str:
    return REDIS if service.role == "other" and service.name.lower() in CALLED_REDIS else service.role


def _refuse_cycle(services: Sequence[Service], wishes: Mapping[str, Wish]) -> None:
    needs = {service.name: service.needs for service in services}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = path[path.index(name) :]
            where = next((wishes[each].where for each in circle if wishes[each].names is not None), "")
            if len(circle) == 1:
                raise DevstackError(f"{name} needs itself", fix="take it out of its needs", where=where)
            why = ", ".join(f"{a} needs {b}" for a, b in zip(circle, (*circle[1:], circle[0]), strict=True))
            fix = "say in needs of one of them what it really needs; needs = [] waits for nothing"
            raise DevstackError(f"{listing(circle)} wait for each other, in a circle", why=why, fix=fix, where=where)
        if name not in done:
            for each in needs[name]:
                visit(each, (*path, name))
            done.add(name)

    for name in needs:
        visit(name, ())
