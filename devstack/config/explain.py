"""Where each value came from, for `devstack check --explain`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explained:
    """`scope` is a service's name, or "" for the project; `source` is like "Procfile:3", "--port", ".env:2", "celery worker", "default"."""

    scope: str
    key: str
    value: object
    source: str
