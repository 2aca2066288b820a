"""The demo shop as the end-to-end tests use it: in a directory of its own, with free ports and a broker address where nothing listens.

shop = make_shop(tmp_path, variant="gunicorn")
with Up(shop.path, "up") as up:
    up.until("all ready")
    assert shop.customer().order().result
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from devstack.demo.customer import Customer
from devstack.demo.layout import lay_out
from tests.support.ports import free_port

DATABASE_SCHEDULER = """
INSTALLED_APPS += ["django_celery_beat"]
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
"""


@dataclass(frozen=True)
class Shop:
    path: Path
    port: int
    flower: int
    broker: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def customer(self) -> Customer:
        return Customer(self.url)

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the shop as an editor does; `old` must be there."""
        file = self.path / name
        text = file.read_text("utf-8")
        assert old in text, f"{name} has no {old!r}"
        file.write_text(text.replace(old, new), "utf-8")


def make_shop(directory: Path, variant: str = "plain", broker: str = "") -> Shop:
    """Lay the shop out in `directory`/my shop: "plain", "gunicorn", or "database-scheduler" (django-celery-beat).

    Its .env names free ports and the broker (without one: a free port too, where devstack then starts a Redis), and its .venv is the
    environment of the tests, so that `devstack up` needs no arguments.
    """
    shop = Shop(directory / "my shop", free_port(), free_port(), broker or f"redis://127.0.0.1:{free_port()}/0")
    lay_out(shop.path)
    (shop.path / ".env").write_text(f"PORT={shop.port}\nFLOWER_PORT={shop.flower}\nCELERY_BROKER_URL={shop.broker}\n")
    if sys.prefix != sys.base_prefix:
        (shop.path / ".venv").symlink_to(sys.prefix)
    match variant:
        case "plain":
            pass
        case "gunicorn":
            shop.edit(
                "Procfile",
                "python manage.py runserver 127.0.0.1:${PORT:-8000}",
                "gunicorn config.wsgi --bind 127.0.0.1:$PORT --workers 2",
            )
        case "database-scheduler":
            with (shop.path / "config" / "settings.py").open("a") as settings:
                settings.write(DATABASE_SCHEDULER)
        case _:
            raise ValueError(f"no such shop: {variant}")
    return shop
