"""A project whose settings cannot be read when `devstack up` starts: mended while it waits, and no second `up`."""

from __future__ import annotations

from pathlib import Path

from tests.support.shop import Shop, make_shop
from tests.support.up import Up


def broken_shop(directory: Path) -> Shop:
    """Its settings, not its .env, name the broker, and they do not compile."""
    shop = make_shop(directory)
    shop.edit(".env", f"CELERY_BROKER_URL={shop.broker}\n", "")
    shop.edit(
        "config/settings.py",
        'CELERY_RESULT_BACKEND = os.environ.get("CELERY_BROKER_URL")',
        f"CELERY_BROKER_URL = CELERY_RESULT_BACKEND = {shop.broker!r}\nBROKEN = (",
    )
    return shop


def test_settings_that_are_mended_bring_everything_up_at_the_address_they_name(tmp_path: Path) -> None:
    shop = broken_shop(tmp_path)
    place = shop.broker.removeprefix("redis://").removesuffix("/0")
    with Up(shop.path, "up", env={"PYTHONDONTWRITEBYTECODE": ""}) as up:
        up.until(r"could not be read: SyntaxError: .* \(config/settings\.py:\d+\); what needs Redis starts once it can")
        shop.edit("config/settings.py", "BROKEN = (", "MENDED = os.environ['MENDED']")
        up.until(r"could not be read: KeyError: 'MENDED' \(config/settings\.py:\d+\)$")
        assert "nothing answered at" not in up.text
        with (shop.path / ".env").open("a") as file:
            file.write("MENDED=yes\n")
        up.until(f"nothing answered at {place}: devstack runs ")
        up.until("redis.1 restarts: the project's settings can be read now")
        up.until("all ready")
        assert shop.customer().order().result
        up.ctrl_c()
        assert up.ends() == 130
        assert "failed" not in up.text
        assert up.left() == []


def test_ctrl_c_while_the_settings_cannot_be_read_ends_everything(tmp_path: Path) -> None:
    shop = broken_shop(tmp_path)
    with Up(shop.path, "up") as up:
        up.until("starts once it can")
        up.ctrl_c()
        assert up.ends() == 130
        assert up.left() == []
