"""Record, a value that never changes, and State, a thing that does. What `@dataclass(slots=True)` is, frozen or not, for a twentieth of
its price.

A dataclass compiles up to six methods while its module is imported: 0.4 to 1.2 ms per class (Python 3.11, 2 GHz), and `devstack up` needs
some sixty such classes before it can start the first process. Those here are written once. What is imported later, and what needs more,
stays a dataclass.

Rule: a default is shared by all who do not give the field, so it is something that cannot change, or `fresh`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

R = TypeVar("R", bound="Record")
T = TypeVar("T")


def fresh(*, factory: Callable[[], T]) -> T:
    """The default of a field: for each thing a value of its own."""
    return _Fresh(factory)  # type: ignore[return-value]


class _Fresh:
    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


class _Fields:
    """The fields are what the subclass annotates, in order. Those that are `aside` do not count where two are compared or one is shown."""

    _names: tuple[str, ...] = ()
    _compared: tuple[str, ...]
    _defaults: dict[str, Any]
    _made: dict[str, Callable[[], object]]

    def __init_subclass__(cls, aside: tuple[str, ...] = ()) -> None:
        cls._names += tuple(vars(cls).get("__annotations__", ()))
        cls._compared = tuple(name for name in cls._names if name not in aside)
        defaults = {name: getattr(cls, name) for name in cls._names if hasattr(cls, name)}
        cls._made = {name: default.make for name, default in defaults.items() if isinstance(default, _Fresh)}
        cls._defaults = {name: default for name, default in defaults.items() if name not in cls._made}
        type.__setattr__(cls, "__match_args__", cls._names)  # mypy has one of its own

    def __init__(self, *given: Any, **named: Any) -> None:
        names, values = self._names, vars(self)
        values.update(self._defaults)
        for name, make in self._made.items():
            values[name] = make()
        values.update(zip(names, given, strict=False))
        values.update(named)
        if len(given) > len(names) or len(values) != len(names) or (named and not named.keys() <= set(names)):
            # Names alone: a value may be a secret.
            raise TypeError(f"{type(self).__name__} has {', '.join(names)}; given: {len(given)}, {', '.join(named)}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in self._compared)})"


@dataclass_transform(eq_default=False, field_specifiers=(fresh,))
class State(_Fields):
    """A thing that changes, and is equal to itself alone."""


@dataclass_transform(frozen_default=True)
class Record(_Fields):
    """A value: two are equal when their type and their fields are."""

    def _key(self) -> tuple[object, ...]:
        return tuple([vars(self)[name] for name in self._compared])

    def __eq__(self, other: object) -> bool:
        return (
            self._key() == other._key() if isinstance(other, Record) and type(other) is type(self) else NotImplemented
        )

    def __hash__(self) -> int:
        return hash(self._key())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")


def replace(record: R, **changes: Any) -> R:
    """A copy with other values in some fields."""
    return type(record)(**(vars(record) | changes))
