"""What may not be seen of a text: what looks like a password, and the value of every variable that is named like one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from devstack.core.secrets import MASK, is_secret, mask

SHORTEST = 4
"""A secret of fewer characters would be found everywhere."""


def cover(env: Mapping[str, str]) -> Callable[[str], str]:
    """Masks a text of a process that has these variables."""
    values = [value for name, value in env.items() if len(value) >= SHORTEST and is_secret(name)]
    secrets = sorted(values, key=len, reverse=True)

    def covered(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return mask(text)

    return covered
