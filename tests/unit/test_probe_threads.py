"""Probes look at the process table in a thread: the loop goes on meanwhile."""

import asyncio
import threading

import pytest

from devstack.core.health import Health
from devstack.probes import http, redis, tcp
from tests.support.subjects import subject


@pytest.mark.parametrize("probe", [http, redis, tcp])
def test_the_process_table_is_not_walked_in_the_loop(probe: object) -> None:
    it, threads = subject(), set[threading.Thread]()

    def pids() -> set[int]:
        threads.add(threading.current_thread())
        return set()

    it.pids = pids
    assert asyncio.run(probe.ask(it)).health is Health.NOT_YET  # type: ignore[attr-defined]
    assert threads
    assert threading.main_thread() not in threads
