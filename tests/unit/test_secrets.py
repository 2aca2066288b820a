"""What is masked before anything is printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.core.secrets import mask, mask_value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:hunter2@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("redis://bob:hunter2@host/0", "redis://bob:***@host/0"),
        ("postgres://bob:p@ss:w/rd@host:5432/db", "postgres://bob:***@host:5432/db"),
        (
            "celery -b redis://:hunter2@host/0 worker -b2 amqp://a:hunter2@h//",
            "celery -b redis://:***@host/0 worker -b2 amqp://a:***@h//",
        ),
        (
            "redis+socket:///run/redis.sock?virtual_host=0&password=hunter2",
            "redis+socket:///run/redis.sock?virtual_host=0&password=***",
        ),
        ("redis-server --requirepass hunter2 --port 1", "redis-server --requirepass *** --port 1"),
        ("celery flower --basic-auth=bob:hunter2", "celery flower --basic-auth=***"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://bob@host/0", "redis://bob@host/0"),
        ("gunicorn shop --bind 0.0.0.0:8000", "gunicorn shop --bind 0.0.0.0:8000"),
    ],
)
def test_a_password_in_an_address_or_option_is_masked(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "DB_PASSWORD",
        "PGPASSWORD",
        "STRIPE_API_KEY",
        "GITHUB_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "SENTRY_DSN",
        "MYSQL_PWD",
    ],
)
def test_a_variable_whose_name_says_secret_is_masked(name: str) -> None:
    assert mask_value(name, "hunter2") == "***"
    assert mask_value(name, "") == ""


@pytest.mark.parametrize("name", ["PATH", "DEBUG", "CELERY_BROKER_URL", "MONKEY", "PASSENGERS", "AUTHOR", "KEYBOARD"])
def test_other_variables_are_shown(name: str) -> None:
    assert mask_value(name, "value") == "value"


@given(
    st.text(
        alphabet=st.characters(codec="ascii", exclude_characters="@/?#'\" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"), min_size=6
    )
)
def test_no_password_survives_in_an_address(password: str) -> None:
    assert f"S{password}" not in mask(f"see redis://bob:S{password}@example.org:6379/0 for more")
