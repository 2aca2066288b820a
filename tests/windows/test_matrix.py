"""Celery on the embedded server, with the pools that there are on Windows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redisd import embedded
from tests.support.redisd_matrix import CHECKS, Stage, stage

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows, or wine: scripts/test.py --wine")


@pytest.fixture(scope="module", params=["solo", "threads"])
def it(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with embedded() as server:
        directory: Path = tmp_path_factory.mktemp(request.param)
        with stage(server, directory, request.param) as made:
            yield made


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_celery_does_with_it_what_it_does_with_redis(it: Stage, name: str) -> None:
    CHECKS[name](it)
