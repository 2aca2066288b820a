"""One question per file: `devstack.probes.<how>` has `async def ask(subject, **options) -> Answer`.

Rule 1: a probe answers; it never raises for something that can happen, and one bad answer says what to do about it.
Rule 2: a probe looks and leaves no trace: nothing it starts outlives the question, and what it writes is gone at once.
Rule 3: a sentence about "not yet" stays the same while the state does (no times in it): the prober tells changes only.

Beside the questions lie what several of them share: `ports` (who listens where) and `resp` (Redis' protocol).
"""
