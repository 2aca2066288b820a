"""Histories of a file that changes again and again: written by a start, or by a person."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devstack.core.echoes import CALM, CLEARED, ECHOES, LATE_ECHOES, LONG_CALM, Echoes, Verdict

SUSPICIOUS = (None, *[0.5] * ECHOES)
TELL, HOLD, PROVEN, LEAVE = Verdict.TELL, Verdict.HOLD, Verdict.PROVEN, Verdict.LEAVE


class File:
    """One file, and whoever is told of it starts at once."""

    def __init__(self) -> None:
        self.echoes = Echoes()
        self.now = 100.0

    def written(self, echo: float | None) -> Verdict:
        """It changes: `echo` seconds after a start, or by somebody a while later."""
        self.now += 10.0 if echo is None else echo
        verdict = self.echoes.changed("version.py", echo, self.now)
        if verdict is TELL:
            self.tell()
        return verdict

    def tell(self) -> None:
        self.echoes.told("version.py", ("worker.1",), self.now)

    def calm(self) -> bool:
        self.now += CALM
        due = self.echoes.calm("version.py", self.now)
        if due:
            self.tell()
        return due


def proven() -> File:
    file = File()
    assert [file.written(each) for each in SUSPICIOUS] == [*[TELL] * ECHOES, HOLD]
    assert file.calm()
    assert file.written(0.5) is PROVEN
    return file


def test_a_file_that_each_start_writes_is_held_tried_once_more_and_left_alone() -> None:
    file = proven()
    assert file.echoes.history("version.py", file.now) == (ECHOES + 1, 0.5 * ECHOES + CALM)
    assert file.echoes.last_told("version.py")[0] == ("worker.1",)
    assert [file.written(0.5) for _ in range(5)] == [LEAVE] * 5


def test_what_was_left_alone_counts_again_when_somebody_saves_it_and_is_found_again() -> None:
    file = proven()
    assert [file.written(each) for each in SUSPICIOUS] == [*[TELL] * ECHOES, HOLD]


def test_a_save_while_it_is_held_shows_that_no_start_writes_it() -> None:
    file = File()
    assert [file.written(each) for each in (None, *[0.9] * ECHOES, None)] == [*[TELL] * ECHOES, HOLD, TELL]
    assert not file.calm()
    # It is not suspected again soon.
    assert [file.written(0.9) for _ in range(10)] == [TELL] * 10
    file.now += CLEARED
    assert [file.written(0.9)] == [HOLD]


def test_another_start_while_it_is_held_prolongs_that() -> None:
    file = File()
    assert [file.written(each) for each in SUSPICIOUS] == [*[TELL] * ECHOES, HOLD]
    file.now += CALM / 2
    assert file.written(0.5) is HOLD
    file.now -= CALM / 2
    assert not file.calm()
    assert file.calm()


def test_a_last_step_without_an_echo_clears_it() -> None:
    file = File()
    assert [file.written(each) for each in SUSPICIOUS] == [*[TELL] * ECHOES, HOLD]
    assert file.calm()
    assert [file.written(each) for each in (None, 0.5, 0.5)] == [TELL, TELL, TELL]


def test_the_last_change_of_one_that_is_left_alone_counts_once_more_after_a_long_calm() -> None:
    file = proven()
    assert not file.calm()
    file.now += LONG_CALM
    assert file.calm()
    assert file.written(0.5) is LEAVE
    file.now += LONG_CALM
    assert not file.calm()


def test_saves_of_a_person_come_at_all_times() -> None:
    file = File()
    delays = (None, 1.9, 0.4, 1.2, 0.2, 1.8, 0.9, 0.1, 1.5)
    assert [file.written(each) for each in delays] == [TELL] * len(delays)


def test_who_may_have_seen_the_start_is_not_suspected_so_soon() -> None:
    file = File()
    assert [file.written(each) for each in (None, *[1.25] * LATE_ECHOES)] == [*[TELL] * LATE_ECHOES, HOLD]
    assert file.calm()
    assert file.written(1.25) is PROVEN


def test_files_are_judged_each_for_itself() -> None:
    file = proven()
    assert file.echoes.changed("other.py", 0.5, file.now) is TELL


@given(st.lists(st.one_of(st.none(), st.floats(0, 30), st.just("calm"))))
def test_whatever_happens_a_save_after_a_pause_is_told(history: list[float | str | None]) -> None:
    file = File()
    for each in history:
        if each == "calm":
            file.calm()
        else:
            assert isinstance(each, float | None)
            file.written(each)
    assert file.written(None) is TELL
