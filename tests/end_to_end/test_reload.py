"""Saves under load: nothing is lost or doubled, old code answers until new code does, and nobody is told of what does not concern him.

Judged by a ledger that the tasks write into Redis, and by the answers of the web server; never by logs or clocks. All tests but the long
ones act in the same `devstack up`, one after the other.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from tests.support import reload_scene
from tests.support.reload_load import Visitors
from tests.support.reload_scene import RELOADED, Scene

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests of Windows have their own folder")

long = pytest.mark.soak


RATE = 100


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with reload_scene.scene(tmp_path_factory.mktemp("reload")) as each:
        yield each


@pytest.mark.parametrize(("tasks", "saves"), [(200, 5), pytest.param(2000, 20, marks=long)])
def test_short_tasks_in_flow_survive_saves(scene: Scene, tasks: int, saves: int) -> None:
    before = len(scene.sender.sent)
    # A save a second.
    scene.sender.flow(tasks / saves)
    for number in range(saves):
        scene.ledger.wait_for_code(scene.save())
        scene.sender.wait_until_sent(before + tasks * (number + 1) // saves)
    scene.sender.halt()
    scene.ledger.wait_for_ends(scene.sender.sent)
    assert not scene.ledger.doubled()


@pytest.mark.parametrize(
    ("acks", "tasks", "shortest", "longest", "saves"),
    [
        ("mixed", 30, 0.3, 1.0, 3),
        pytest.param("early", 200, 0.5, 3.0, 10, marks=long),
        pytest.param("late", 200, 0.5, 3.0, 10, marks=long),
    ],
)
def test_long_tasks_finish_on_the_code_that_began_them(
    scene: Scene, acks: str, tasks: int, shortest: float, longest: float, saves: int
) -> None:
    names = {"early": ["note"], "late": ["note_late"], "mixed": ["note", "note_late"]}[acks]
    each = tasks // len(names)
    seconds = [shortest + (longest - shortest) * (number % 8) / 7 for number in range(each)]
    sent = [task for name in names for task in scene.sender.send(f"orders.tasks.{name}", each, seconds=seconds)]
    for number in range(saves):
        scene.ledger.wait_for_starts(sent, tasks * (number + 1) // (saves + 1), within=300)
        scene.answers(scene.save())
    scene.ledger.wait_for_ends(sent, within=300)
    assert not scene.ledger.doubled()
    ends = {entry.task: entry.version for entry in scene.ledger.entries if entry.what == "end"}
    assert all(ends[entry.task] == entry.version for entry in scene.ledger.starts() if entry.task in sent)


def test_tasks_with_an_eta_and_chords_come_through_saves_once(scene: Scene) -> None:
    later = [
        task
        for name in ("note", "note_late")
        for countdown in (0.5, 1.5, 3.0)
        for task in scene.sender.send(f"orders.tasks.{name}", 2, countdown=countdown)
    ]
    chords = [scene.sender.chord(parts=6, seconds=0.3) for _ in range(2)]
    everything = [*later, *(task for chord in chords for task in chord)]
    scene.ledger.wait_for_starts(chords[0], 2)
    scene.answers(scene.save())
    scene.ledger.wait_for_starts(chords[1], 2)
    scene.answers(scene.save())
    scene.ledger.wait_for_ends(everything)
    assert not scene.ledger.doubled()


def test_no_task_begins_on_stale_code_once_the_reload_is_announced(scene: Scene) -> None:
    scene.sender.flow(RATE)
    for _ in range(2):
        version = scene.save()
        scene.up.until(re.escape(RELOADED), scene.reloads + 1)
        scene.ledger.mark(f"announced-{version}")
        scene.ledger.wait_for_code(version)
        begun = [entry for entry in scene.ledger.after(f"announced-{version}") if entry.what == "start"]
        assert all(entry.version == version for entry in begun)
        # The old code took nothing more from the moment of the save on: not even between two tasks of the new.
        first = scene.ledger.entries.index(scene.ledger.wait_for_code(version))
        assert all(entry.version == version for entry in scene.ledger.entries[first:] if entry.what == "start")
    scene.sender.halt()
    scene.ledger.wait_for_ends(scene.sender.sent)


@pytest.mark.parametrize("mistake", ["syntax", "import", "settings"])
def test_broken_code_replaces_nothing_and_the_next_good_save_does(scene: Scene, mistake: str) -> None:
    good = scene.save()
    scene.answers(good)
    scene.break_by(mistake)
    assert scene.code() == good
    scene.answers(scene.mend())


def test_an_error_that_several_meet_is_shown_once(scene: Scene) -> None:
    scene.answers(scene.save())
    said, before = len(scene.up.text), scene.up.text.count("the same error as")
    scene.break_by("settings")
    scene.up.until(r"keeps running: the same error as (web|worker)\.1", before + 1)
    shown = scene.up.text[said:]
    # In the frame alone, which is folded, and not in what the two have written besides.
    assert not re.findall(r"^\S+ \w+\.1 +\| .*RuntimeError", shown, re.MULTILINE)
    assert len(re.findall(r"last lines:", shown)) == 1
    # The next save shows it again.
    scene.project.save_settings('raise RuntimeError("settings that cannot be")  # Still.\n')
    scene.up.until(r"last lines:", scene.up.text[:said].count("last lines:") + 2)
    scene.answers(scene.mend())


def test_saved_code_of_the_web_server_answers_and_no_request_fails(scene: Scene) -> None:
    with Visitors(scene.project.url, RATE) as visitors:
        for _ in range(3):
            visitors.wait_for_version(scene.save_web(), within=20)
        visitors.halt()
    assert visitors.failed() == []


def test_a_file_that_only_the_web_server_imports_leaves_the_worker_alone(scene: Scene) -> None:
    said, reloads_of_web = len(scene.up.text), scene.up.text.count("web.1 reloaded in")
    scene.save_web()
    # What is saved together is one reload, of all that use any of it.
    scene.up.until(r"web\.1 reloaded in", reloads_of_web + 1)
    scene.answers(scene.save())
    reloads = re.findall(r"worker\.1 re\w+ .*", scene.up.text[said:])
    assert len(reloads) == 1
    assert "(orders/tasks.py)" in reloads[0]


SPAWNED = {"DEVSTACK_SPARES": "spawned"}
"""The spares of systems that do not fork."""


@pytest.mark.parametrize(
    ("pool", "spares", "saves"),
    [
        ("solo", SPAWNED, 2),
        *(
            pytest.param(pool, spares, 6, marks=long)
            for spares in ({}, SPAWNED)
            for pool in ("prefork", "solo", "threads", "gevent", "eventlet")
        ),
    ],
)
def test_whatever_the_pool_saves_lose_and_double_nothing(
    tmp_path: Path, pool: str, spares: dict[str, str], saves: int
) -> None:
    if pool in ("gevent", "eventlet"):
        pytest.importorskip(pool)
    with reload_scene.scene(tmp_path, web=False, pool=pool, env=spares) as scene:
        revoked: set[str] = set()
        retried: set[str] = set()
        for _ in range(saves):
            scene.sender.send("orders.tasks.note", 10, seconds=0.1)
            scene.sender.send("orders.tasks.note_late", 10, seconds=0.1)
            retried.update(scene.sender.send("orders.tasks.again", 2, seconds=0.05))
            for name in ("note", "note_late"):
                scene.sender.send(f"orders.tasks.{name}", 2, countdown=2.0)
            chord = scene.sender.chord(parts=4, seconds=0.2)
            doomed = scene.sender.send("orders.tasks.note", 2, countdown=4.0)
            revoked.update(doomed)
            scene.revoke(doomed)
            scene.ledger.wait_for_starts(chord, 1)
            scene.answers(scene.save())
        expected = set(scene.sender.sent) - revoked | {f"{each}.1" for each in retried}
        # By then the revoked ones would have come, too: this one has the latest time of all.
        expected.update(scene.sender.send("orders.tasks.note", countdown=5.0))
        scene.ledger.wait_for_ends(expected)
        assert not scene.ledger.doubled()
        assert not {entry.task for entry in scene.ledger.starts()} & revoked


@long
@pytest.mark.parametrize("reload", ["quiesce", "overlap"])
def test_no_stale_task_when_quiesced_and_no_gap_when_overlapped(tmp_path: Path, reload: str) -> None:
    settings = f'[processes.worker]\nreload = "{reload}"\n'
    with reload_scene.scene(tmp_path, web=False, settings=settings) as scene:
        scene.sender.flow(RATE)
        gaps, stale = [], []
        for _ in range(10):
            saved = time.monotonic()
            version = scene.save()
            scene.ledger.wait_for_code(version)
            scene.up.until(re.escape(RELOADED), scene.reloads + 1)
            scene.sender.wait_until_sent(len(scene.sender.sent) + RATE)
            sent = [*scene.sender.sent]
            scene.ledger.wait_for_starts(sent, len(sent))
            starts = sorted(entry.at for entry in scene.ledger.starts() if entry.at > saved - 0.5)
            gaps.append(max(after - before for before, after in pairwise(starts)))
            older = (entry.at - saved for entry in scene.ledger.starts() if entry.version < version)
            stale.append(max(older, default=0.0))
        scene.sender.halt()
        scene.ledger.wait_for_ends(scene.sender.sent)
        assert not scene.ledger.doubled()
        print(f"{reload}: gaps {[round(x, 3) for x in gaps]}, last old task {[round(x, 3) for x in stale]}")
        # Medians: what else the machine does is not ours.
        assert median(gaps if reload == "overlap" else stale) <= 0.1


@long
def test_of_fifty_saves_ten_are_broken_and_the_right_code_answers_after_each(tmp_path: Path) -> None:
    mistakes = ["syntax", "import", "settings", "hang"]
    with reload_scene.scene(tmp_path, web=False, settings='[processes.worker]\nready_within = "15s"\n') as scene:
        good = 0
        for number in range(50):
            if number % 5 == 4:
                scene.break_by(mistakes[number // 5 % len(mistakes)])
                assert scene.code() == good
            else:
                good = scene.mend()
                scene.answers(good)
        assert not scene.ledger.doubled()
