"""Who may come in: the password of everybody, and users with their own.

Rule 1: passwords are kept as hashes and compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac

from devstack.redisd.protocol import Failure

WRONG = Failure(b"WRONGPASS invalid username-password pair or user is disabled.")


class Logins:
    """Users and the SHA-256 of their passwords; None for a user who needs none."""

    def __init__(self) -> None:
        self._hashes: dict[bytes, bytes | None] = {b"default": None}

    @property
    def needed(self) -> bool:
        return self._hashes[b"default"] is not None

    def require(self, password: bytes) -> None:
        """The password of the user who gives no name; empty: none."""
        self._hashes[b"default"] = _hash(password) if password else None

    def add(self, name: bytes, *rules: bytes) -> None:
        """`user NAME on #HASH ~* +@all` of a configuration. Everybody may do everything: `settings` takes no other rules."""
        for rule in rules:
            if rule.startswith(b"#"):
                self._hashes[name] = rule[1:].lower()
            elif rule.startswith(b">"):
                self._hashes[name] = _hash(rule[1:])
            elif rule == b"nopass":
                self._hashes[name] = None

    def check(self, name: bytes, password: bytes) -> None:
        """WRONGPASS unless they belong together."""
        if name not in self._hashes:
            raise WRONG
        expected = self._hashes[name]
        if expected is not None and not hmac.compare_digest(expected, _hash(password)):
            raise WRONG


def _hash(password: bytes) -> bytes:
    return hashlib.sha256(password).hexdigest().encode()
