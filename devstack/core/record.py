"""Record: a value that never changes. What `@dataclass(frozen=True, slots=True)` is, for a twentieth of its price.

A dataclass compiles six methods while its module is imported: 0.4 to 1.2 ms per class (Python 3.11, 2 GHz), and `devstack up` needs some
fifty such classes before it can start the first process. Those of a Record are written once, here. What is imported later, what changes
and what needs more than this stays a dataclass.

Rule: a default is shared by all who do not give the field, so it is something that cannot change.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

R = TypeVar("R", bound="Record")


@dataclass_transform(frozen_default=True)
class Record:
    """Its fields are what the subclass annotates, in order. Two are equal when their type and their fields are; those that are `aside` do
    not count there, and are not shown.
    """

    _names: tuple[str, ...]
    _compared: tuple[str, ...]
    _defaults: dict[str, Any]

    def __init_subclass__(cls, aside: tuple[str, ...] = ()) -> None:
        cls._names = tuple(cls.__annotations__)
        cls._compared = tuple(name for name in cls._names if name not in aside)
        cls._defaults = {name: vars(cls)[name] for name in cls._names if name in vars(cls)}
        type.__setattr__(cls, "__match_args__", cls._names)  # mypy has one of its own

    def __init__(self, *given: Any, **named: Any) -> None:
        names, values = self._names, vars(self)
        values.update(self._defaults)
        values.update(zip(names, given, strict=False))
        values.update(named)
        if len(given) > len(names) or len(values) != len(names) or (named and not named.keys() <= set(names)):
            # Names alone: a value may be a secret.
            raise TypeError(f"{type(self).__name__} has {', '.join(names)}; given: {len(given)}, {', '.join(named)}")

    def _key(self) -> tuple[object, ...]:
        return tuple([vars(self)[name] for name in self._compared])

    def __eq__(self, other: object) -> bool:
        return (
            self._key() == other._key() if isinstance(other, Record) and type(other) is type(self) else NotImplemented
        )

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in self._compared)})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")


def replace(record: R, **changes: Any) -> R:
    """A copy with other values in some fields."""
    return type(record)(**(vars(record) | changes))
