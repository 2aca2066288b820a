"""What devstack says when it cannot go on: what happened, why, what to do, and where.

Rule 1: every error a person can cause is a `DevstackError`; anything else is a bug of ours and shows its traceback.
Rule 2: foreign exceptions (OSError, tomllib's, redis') are translated once, where the library is called.
"""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
"""Usage or configuration: nothing was started."""
INTERRUPTED: Final = 130
UNREAD: Final = 141
"""Nobody reads our output any more, as when a shell program dies of SIGPIPE."""


class DevstackError(Exception):
    """An error with its explanation.

    `what` happened (one clause, no full stop), `why` (the cause, if known), `fix` (what to do: a command or a sentence), `where`
    (`Procfile:3`). `code` is the exit code of the command that it ends.
    """

    def __init__(self, what: str, *, why: str = "", fix: str = "", where: str = "", code: int = USAGE) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.where = where
        self.code = code

    def __str__(self) -> str:
        head = f"error: {self.what}"
        if self.where:
            head += f"  ({self.where})"
        rest = [f"  {label}: {_hanging(text)}" for label, text in (("why", self.why), ("try", self.fix)) if text]
        return "\n".join([head, *rest])


def _hanging(text: str) -> str:
    return text.replace("\n", "\n       ")


def did_you_mean(wrong: str, known: list[str] | tuple[str, ...]) -> str:
    """`did you mean "worker"?`, or nothing when no name of `known` is near `wrong`."""
    import difflib

    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""
