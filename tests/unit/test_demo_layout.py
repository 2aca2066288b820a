"""The demo shop in a directory: new, again, edited, interrupted, and where it must not go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devstack.demo.layout import MARKER, lay_out, shop
from devstack.errors import DevstackError


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        file.relative_to(directory).as_posix(): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file() and file.name != MARKER
    }


def test_a_new_directory_gets_the_whole_shop(tmp_path: Path) -> None:
    assert lay_out(tmp_path / "a" / "my shop")
    assert files_of(tmp_path / "a" / "my shop") == shop()
    assert {"manage.py", "Procfile", ".env", "config/celery.py", "orders/templates/orders/order.html"} < set(shop())


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    assert lay_out(tmp_path)
    assert files_of(tmp_path) == shop()


def test_the_second_time_it_is_used_with_what_was_edited(tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / "orders" / "tasks.py").write_text("edited")
    (tmp_path / "mine.py").write_text("mine")
    (tmp_path / "manage.py").unlink()
    assert not lay_out(tmp_path)
    assert files_of(tmp_path) == {**shop(), "orders/tasks.py": b"edited", "mine.py": b"mine"}


def test_an_older_shop_is_brought_up_to_date_except_what_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {**shop(), "Procfile": b"web: older", "README.md": b"older"}
    monkeypatch.setattr("devstack.demo.layout.shop", lambda: older)
    lay_out(tmp_path)
    (tmp_path / "README.md").write_text("edited")
    monkeypatch.undo()
    lay_out(tmp_path)
    assert files_of(tmp_path) == {**shop(), "README.md": b"edited"}


def test_one_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"manage.py": "cut off')
    (tmp_path / "manage.py").write_bytes(shop()["manage.py"])
    assert not lay_out(tmp_path)
    assert files_of(tmp_path) == shop()


def test_files_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DevstackError) as caught:
        lay_out(tmp_path)
    assert "thesis.txt" in str(caught.value)
    assert files_of(tmp_path) == {"thesis.txt": b"mine"}


def test_a_file_in_the_way_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "demo-shop").write_text("")
    with pytest.raises(DevstackError) as caught:
        lay_out(tmp_path / "demo-shop")
    assert "devstack demo DIR" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_not_writable_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DevstackError) as caught:
        lay_out(tmp_path / "shop")
    assert "Permission denied" in str(caught.value)
