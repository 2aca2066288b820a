"""A `reload_project` under `devstack up`, with a Redis, the ledger and a sender: what the end-to-end tests of the reload act in.

with reload_scene.scene(tmp_path) as scene:
    number = scene.save()
    scene.answers(number)
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import reload_project
from tests.support.ports import free_port
from tests.support.redis_server import redis_server
from tests.support.reload_ledger import Entry, Ledger
from tests.support.reload_load import Sender
from tests.support.reload_project import Project
from tests.support.up import Up

ERROR = r"\| error: "
RELOADED = "worker.1 reloaded in"


@dataclass
class Scene:
    project: Project
    up: Up
    ledger: Ledger
    sender: Sender
    version: int = 0
    """Of the code that was saved last, good or bad."""
    reloads: int = 0
    """That were announced before the last good save."""

    def said(self) -> str:
        """What devstack itself has said last."""
        return said_by(self.up)

    def save(self) -> int:
        """New good code for the tasks; its number."""
        self.version += 1
        self.reloads = self.up.text.count(RELOADED)
        self.project.save_tasks(self.version)
        return self.version

    def save_web(self) -> int:
        self.version += 1
        self.project.save_web(self.version)
        return self.version

    def revoke(self, tasks: list[str]) -> None:
        from celery import Celery

        with Celery("revoker", broker=self.project.broker) as app:
            app.control.revoke(tasks)

    def break_by(self, mistake: str) -> None:
        """Save bad code, one of `reload_project.BROKEN` or "settings", and wait until devstack has said that it is."""
        self.version += 1
        errors = len(re.findall(ERROR, self.up.text))
        if mistake == "settings":
            self.project.save_settings('raise RuntimeError("settings that cannot be")\n')
        else:
            self.project.break_tasks(mistake, self.version)
        self.up.until(ERROR, errors + 1)

    def mend(self) -> int:
        """Save good code in place of any mistake; its number."""
        self.project.save_settings()
        return self.save()

    def ask(self, count: int = 1) -> list[Entry]:
        """Have that many tasks done; the entries that say who began them."""
        tasks = self.sender.send("orders.tasks.note", count)
        self.ledger.wait_for_ends(tasks)
        return [entry for entry in self.ledger.starts() if entry.task in tasks]

    def code(self) -> int:
        """The version that does a task now."""
        return self.ask()[0].version

    def answers(self, version: int, within: float = 60.0) -> None:
        """Wait until a task has been done by that version, the last that was saved, and it has been announced."""
        while not any(entry.version == version for entry in self.ledger.starts()):
            within -= 0.1
            assert within > 0, f"version {version} never did a task:\n{self.said()}"
            tasks = self.sender.send("orders.tasks.note")
            with contextlib.suppress(AssertionError):
                self.ledger.wait_for_ends(tasks, within=0.1)
        self.up.until(re.escape(RELOADED), self.reloads + 1)


def said_by(up: Up) -> str:
    return "\n".join(re.findall(r"^.* devstack +\| .*$|^ .*$", up.text, re.MULTILINE)[-40:])


@contextlib.contextmanager
def scene(
    place: Path, *, web: bool = True, settings: str = "", pool: str = "prefork", env: dict[str, str] | None = None
) -> Iterator[Scene]:
    """Everything ready, with version 0. `settings` is its devstack.toml, `env` is for devstack."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        project = reload_project.make(place / "shop", broker=redis.url, web_port=free_port() if web else 0, pool=pool)
        (project.path / "devstack.toml").write_text(settings, "utf-8")
        sender = stack.enter_context(Sender(project.broker))
        up = stack.enter_context(Up(project.path, "up", "--no-color", state=place / "state", env=env))
        ledger = stack.enter_context(Ledger(project.ledger, lambda: said_by(up)))
        up.until("all ready in")
        yield Scene(project, up, ledger, sender)
        up.ctrl_c()
        assert up.ends() == 130, up.text
        assert up.left() == []
