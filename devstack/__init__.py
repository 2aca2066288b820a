"""devstack: the local process supervisor and dev launcher for Django, Celery and Redis."""

__version__ = "0.1.0"
