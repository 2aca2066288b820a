"""What is masked before anything is printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.core.secrets import concealed, mask, mask_value


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
        ("celery --secret-key=abc -A x", "celery --secret-key=*** -A x"),
        ("run --token 'a b' --port 1", "run --token *** --port 1"),
        ("MYPASS=hunter2 celery -A shop worker", "MYPASS=*** celery -A shop worker"),
        ("psql 'host=db password=hunter2'", "psql 'host=db password=***'"),
        ("psql --no-password shop", "psql --no-password shop"),
        ("redis-cli -h x -a hunter2 ping", "redis-cli -h x -a *** ping"),
        ('{"password": "hunter2", "user": "bob"}', '{"password": ***, "user": "bob"}'),
        ("https://ghp_0123456789abcdef@github.com/x", "https://***@github.com/x"),
        ("curl -H 'Authorization: Bearer 0123456789'", "curl -H 'Authorization: Bearer ***'"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----***"),
        ("PASSENGERS=5 run --author bob --keyfile x", "PASSENGERS=5 run --author bob --keyfile x"),
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
        "SECRETS",
        "CLIENT_SECRET",
        "DB_PASSWORD",
        "PGPASSWORD",
        "MYPASS",
        "DB_PASS",
        "PASS",
        "PASS1",
        "MYSQL_PWD",
        "DBPWD",
        "dbPass",
        "SSH_PASSPHRASE",
        "API_KEY",
        "STRIPE_API_KEY",
        "STRIPE_KEYS",
        "APIKEY",
        "apiKey",
        "KEY",
        "PRIVATE_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "api-key",
        "TOKEN",
        "GITHUB_TOKEN",
        "ACCESSTOKEN",
        "TOKEN_2",
        "SENTRY_DSN",
        "PASSWORD_SALT",
        "FLOWER_BASIC_AUTH",
        "REDIS_AUTH",
        "masterauth",
        "requirepass",
        "GOOGLE_CREDENTIALS",
        "SLACK_WEBHOOK_URL",
        "TLS_PEM",
    ],
)
def test_a_variable_whose_name_says_secret_is_masked(name: str) -> None:
    assert mask_value(name, "hunter2") == "***"
    assert mask_value(name, "") == ""


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "DEBUG",
        "PWD",
        "OLDPWD",
        "CELERY_BROKER_URL",
        "DATABASE_URL",
        "MONKEY",
        "TURKEY",
        "HOTKEY",
        "KEYBOARD",
        "KEYCLOAK_URL",
        "PASSENGERS",
        "PASSIVE",
        "PASSTHROUGH",
        "COMPASS",
        "COMPASS_URL",
        "BYPASS_CACHE",
        "ENCOMPASS",
        "AUTHOR",
        "AUTHORS",
        "AUTH_USER_MODEL",
        "SSH_AUTH_SOCK",
        "XAUTHORITY",
        "SECRETARY",
        "TOKENIZERS_PARALLELISM",
        "DJANGO_SETTINGS_MODULE",
    ],
)
def test_other_variables_are_shown(name: str) -> None:
    assert mask_value(name, "value") == "value"


def test_what_a_program_says_is_covered_by_the_addresses_of_its_variables_too() -> None:
    env = {
        "DATABASE_URL": "postgres://bob:p%40ssw0rd@db/shop",
        "SENTRY_DSN": "https://0123456789abcdef@o1.ingest.example/7",
        "PAGE": "https://example.org/",
    }
    said = "logging in with p@ssw0rd (p%40ssw0rd), key 0123456789abcdef, see example.org"
    assert concealed(said, env) == "logging in with *** (***), key ***, see example.org"


def test_an_address_with_a_password_is_shown_without_it_whatever_its_variable_is_called() -> None:
    assert mask_value("DATABASE_URL", "postgres://bob:hunter2@db/shop") == "postgres://bob:***@db/shop"


@pytest.mark.parametrize(
    "text", ["a://" * 20_000, "redis://a:b@" * 5_000, "-a --key redis-cli " * 5_000, "'x=" * 30_000]
)
def test_long_garbage_is_looked_through_at_once(text: str) -> None:
    mask(text)


@given(
    st.text(
        alphabet=st.characters(codec="ascii", exclude_characters="@/?#'\" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"), min_size=6
    )
)
def test_no_password_survives_in_an_address(password: str) -> None:
    assert f"S{password}" not in mask(f"see redis://bob:S{password}@example.org:6379/0 for more")
