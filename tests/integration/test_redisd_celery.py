"""Celery on the embedded server: real workers of every pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redisd import embedded
from tests.support.redisd_matrix import CHECKS, Stage, stage

POOLS = ("prefork", "solo", "threads")


@pytest.fixture(scope="module", params=POOLS)
def it(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with embedded() as server:
        directory: Path = tmp_path_factory.mktemp(request.param)
        with stage(server, directory, request.param) as made:
            yield made
        assert "error" not in server.log.read_text().lower()


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_celery_does_with_it_what_it_does_with_redis(it: Stage, name: str) -> None:
    CHECKS[name](it)
