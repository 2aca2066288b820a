"""Values that never change are equal by type and fields, made and matched as dataclasses are; states change, and are themselves alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from devstack.core.record import Record, State, fresh, replace


class Point(Record):
    x: int
    y: int = 0


class Place(Record):
    x: int
    y: int = 0


class Login(Record, aside=("password",)):
    name: str
    password: str = ""


class Call(Record):
    function: Callable[[int], int] = lambda n: n + 1


def test_fields_are_given_by_place_or_by_name() -> None:
    assert Point(1) == Point(1, 0) == Point(x=1, y=0)


@pytest.mark.parametrize(("given", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1})])
def test_a_field_too_few_or_too_many_is_a_mistake(given: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point has x, y"):
        Point(*given, **named)


def test_two_of_different_types_are_never_equal() -> None:
    assert Point(1, 2) != Place(1, 2)
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_nothing_of_it_changes() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="x cannot be changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="y cannot be changed"):
        del point.y
    assert replace(point, y=5) == Point(1, 5)
    assert point == Point(1)
    assert copy.deepcopy(point) == point


def test_what_is_aside_is_neither_compared_nor_shown() -> None:
    assert Login("ann", "secret") == Login("ann")
    assert repr(Login("ann", "secret")) == "Login(name='ann')"


def test_it_can_be_taken_apart_by_match() -> None:
    match Point(1, 2):
        case Place(x, y) | Point(x, y):
            assert (x, y) == (1, 2)


def test_a_function_as_a_default_stays_a_function() -> None:
    assert Call().function(1) == 2


class Named(State):
    name: str
    notes: list[str] = fresh(factory=list)


class Counted(Named):
    count: int = 0


def test_a_state_changes_and_is_equal_to_itself_alone() -> None:
    one, other = Named("a"), Named("a")
    one.notes.append("seen")
    one.name = "b"
    assert (one.name, one.notes, other.notes) == ("b", ["seen"], [])
    assert one != Named("b", ["seen"])
    assert len({one, other}) == 2
    assert repr(one) == "Named(name='b', notes=['seen'])"


def test_what_is_given_wins_over_a_fresh_default() -> None:
    notes = ["mine"]
    assert Named("a", notes).notes is notes


def test_a_subclass_has_the_fields_of_its_base_first() -> None:
    counted = Counted("a", ["x"], 3)
    assert (counted.name, counted.notes, counted.count) == ("a", ["x"], 3)
    assert Counted("b").notes == []
