from __future__ import annotations

import random

import pytest

from devstack.core.lines import CUT, LONGEST_LINE, Lines, prefixed


def chunks(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.choices(range(len(data) + 1), k=rng.randint(0, 8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_every_byte_arrives_once_and_in_order_however_it_is_cut() -> None:
    rng = random.Random(1)
    for _ in range(500):
        data = bytes(rng.choices(b"ab\n\r\x00\xff\xc3\xa9\x1b", k=rng.randint(0, 60)))
        lines = Lines()
        out = [lines.feed(chunk) for chunk in chunks(data, rng)]
        assert all(not block or block.endswith(b"\n") for block in out)
        assert b"".join(out) + lines.take() == data
        assert lines.waiting == 0


def test_each_line_gets_its_prefix_even_a_blank_one() -> None:
    assert b"".join(prefixed(b"a\n\nb\n", b"web | ")) == b"web | a\nweb | \nweb | b\n"


def test_a_progress_bar_stays_in_its_line() -> None:
    assert b"".join(prefixed(b"10%\r20%\r100%\n", b"| ")) == b"| 10%\r20%\r100%\n"


def test_a_colour_left_open_is_closed_before_the_next_prefix() -> None:
    assert b"".join(prefixed(b"\x1b[31mred\nplain\n", b"| ")) == b"| \x1b[31mred\x1b[0m\n| plain\n"
    assert b"".join(prefixed(b"\x1b[1;32mbold\r\n", b"| ")) == b"| \x1b[1;32mbold\x1b[0m\r\n"


def test_colours_that_are_closed_are_left_as_they_are() -> None:
    for line in (b"\x1b[31mred\x1b[0m\n", b"\x1b[31mred\x1b[m\n", b"\x1b[2Kcleared\n"):
        assert b"".join(prefixed(line, b"")) == line


def test_a_line_of_ten_megabytes_stays_whole_and_an_endless_one_is_cut_and_marked() -> None:
    lines = Lines()
    piece = b"x" * 1024 * 1024
    for _ in range(10):
        assert lines.feed(piece) == b""
    assert len(lines.feed(b"\n")) == 10 * len(piece) + 1

    out = b"".join(lines.feed(piece) for _ in range(LONGEST_LINE // len(piece) + 1))
    assert out.endswith(CUT)
    assert len(out) == LONGEST_LINE + len(piece) + len(CUT)


@pytest.mark.parametrize(
    ("fed", "shown"),
    [
        ("café".encode(), "café".encode()),
        ("café".encode()[:-1], b"caf"),
        ("5 €".encode()[:-1], b"5 "),
        ("🙂".encode()[:3], b""),
        (b"name: ", b"name: "),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"\x80\x80\x80\x80", b"\x80\x80\x80\x80"),
    ],
)
def test_a_character_that_has_only_begun_is_not_shown_before_its_end(fed: bytes, shown: bytes) -> None:
    lines = Lines()
    lines.feed(fed)
    assert lines.show() == shown
    assert lines.waiting == len(fed) - len(shown)
    assert shown + lines.feed(b"!\n") == fed + b"!\n"
