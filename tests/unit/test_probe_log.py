from __future__ import annotations

import asyncio

from devstack.core.health import Answer, Health
from devstack.probes import log
from tests.support.subjects import subject


def ask(tail: bytes, pattern: str) -> Answer:
    return asyncio.run(log.ask(subject(tail=tail), pattern))


def test_a_line_that_matches_is_ready_through_colours_and_odd_bytes() -> None:
    tail = b"starting\n\xff\x1b[32mServer \x1b[1mstarted\x1b[0m on :3000\r\n"
    assert ask(tail, r"Server started on :\d+") == Answer(Health.READY, 'printed "Server started on :3000"')


def test_without_the_line_it_is_not_yet() -> None:
    assert ask(b"starting\n", "started") == Answer(Health.NOT_YET, 'has not printed "started" yet')
    assert ask(b"one\ntwo\n", "one.two").health is Health.NOT_YET
    assert ask(b"", "^$").health is Health.NOT_YET


def test_a_pattern_that_is_none_is_a_sentence_not_a_traceback() -> None:
    answer = ask(b"", "(")
    assert answer.health is Health.UNKNOWN
    assert answer.why.startswith('"(" is not a regular expression: ')
