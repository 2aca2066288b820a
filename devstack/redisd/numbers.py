"""Numbers as Redis reads and writes them.

Rule 1: an integer is 64 bits and has one spelling: "7", never "+7", "07" or " 7".
Rule 2: a score is a double; INCRBYFLOAT counts in x87 long doubles (64 bits of mantissa), which Fractions stand in for.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

SMALLEST: Final = -(2**63)
LARGEST: Final = 2**63 - 1
_FLOAT: Final = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.IGNORECASE)


def integer(text: bytes) -> int | None:
    """None for what is none."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value if SMALLEST <= value <= LARGEST and b"%d" % value == text else None


def double(text: bytes) -> float | None:
    """None for what is none. Hexadecimal floats, which strtod reads, are none here."""
    return float(text) if _FLOAT.fullmatch(text) else None


def double_text(value: float) -> bytes:
    """The shortest text that reads back as the same double, laid out as Redis' fpconv does."""
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    if math.isnan(value):
        return b"nan"
    if value == 0:
        return b"0"
    if value.is_integer() and abs(value) < 2**53:
        return b"%d" % int(value)
    sign, digit_tuple, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, shift = "".join(map(str, digit_tuple)), int(exponent)
    size = len(digits)
    magnitude = shift + size - 1
    if shift >= 0 and abs(magnitude) < size + 7:
        text = digits + "0" * shift
    elif shift < 0 and (shift > -7 or abs(magnitude) < 4):
        whole = size + shift
        text = f"{digits[:whole]}.{digits[whole:]}" if whole > 0 else f"0.{'0' * -whole}{digits}"
    else:
        fraction = f".{digits[1:]}" if size > 1 else ""
        text = f"{digits[0]}{fraction}e{'-' if magnitude < 0 else '+'}{abs(magnitude)}"
    return b"%b%b" % (b"-" if sign else b"", text.encode())


def long_double(text: bytes) -> Fraction | None:
    """What INCRBYFLOAT reads. None for what is none, and for what is not finite (see `is_infinite`)."""
    if len(text) > 5120 or not _FLOAT.fullmatch(text) or b"n" in text.lower():
        return None
    # The largest long double is about 1e4932; a Fraction of 1e999999999 would take the memory of the machine.
    exponent = re.search(rb"e([+-]?\d+)", text, re.IGNORECASE)
    if exponent and (len(exponent[1]) > 6 or abs(int(exponent[1])) > 4900):
        return None
    return _rounded(Fraction(Decimal(text.decode())))


def is_infinite(text: bytes) -> bool:
    return b"n" in text.lower() and _FLOAT.fullmatch(text) is not None


def long_double_text(value: Fraction) -> bytes:
    """%.17Lf without its trailing zeros."""
    scaled = round(abs(value) * 10**17)
    whole, rest = divmod(scaled, 10**17)
    fraction = f"{rest:017d}".rstrip("0")
    return f"{'-' if value < 0 and scaled else ''}{whole}{'.' if fraction else ''}{fraction}".encode()


def added(one: Fraction, other: Fraction) -> Fraction:
    return _rounded(one + other)


def _rounded(value: Fraction) -> Fraction:
    """To 64 bits of mantissa, ties to even."""
    if not value:
        return value
    shift = 64 - (abs(value.numerator).bit_length() - value.denominator.bit_length())
    scale = Fraction(2) ** shift
    if abs(value) * scale >= 2**64:
        scale /= 2
    return Fraction(round(value * scale)) / scale
