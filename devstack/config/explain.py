"""Where each value came from, for `devstack check --explain`."""

from __future__ import annotations

from devstack.core.record import Record


class Explained(Record):
    """`scope` is a service's name, or "" for the project; `source` is like "Procfile:3", "--port", ".env:2", "celery worker", "default"."""

    scope: str
    key: str
    value: object
    source: str
