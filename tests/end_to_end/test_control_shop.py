"""The demo shop, driven from another terminal: real workers, a real broker, one task's lines from web to worker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.shop import Shop, make_shop
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests of Windows have their own folder")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Up]]:
    shop = make_shop(tmp_path_factory.mktemp("control"))
    with Up(shop.path, "up") as up:
        up.until("all ready")
        yield shop, up


def do(shop: Shop, up: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devstack", *arguments],
        cwd=shop.path,
        env=up.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_second_worker_gets_a_node_name_of_its_own_and_a_second_beat_is_refused(shop: tuple[Shop, Up]) -> None:
    done = do(*shop, "scale", "worker=2")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(do(*shop, "ps", "--json").stdout)}
    assert rows["worker.2"]["why"].startswith("worker.2@")
    assert rows["worker.2"]["processes"] > 1, "its pool counts too"

    refused = do(*shop, "scale", "beat=2")
    assert refused.returncode == 2
    assert "each beat more would send every periodic task once more" in refused.stderr

    assert do(*shop, "scale", "worker=1").returncode == 0
    assert "worker.2" not in do(*shop, "ps").stdout


def test_a_restarted_worker_is_back_when_it_takes_tasks(shop: tuple[Shop, Up]) -> None:
    done = do(*shop, "restart", "worker")
    assert done.returncode == 0, done.stderr
    assert shop[0].customer().order().result
    assert do(*shop, "wait", "--timeout", "60").returncode == 0


def test_the_lines_of_one_task_are_found(shop: tuple[Shop, Up]) -> None:
    shop[0].customer().order()
    shop[1].until(r"send_receipt\[[0-9a-f-]{36}\] succeeded")
    ident = re.findall(r"send_receipt\[([0-9a-f-]{36})\] succeeded", shop[1].text)[-1]
    lines = do(*shop, "logs", "--task", ident, "--no-prefix").stdout.splitlines()
    assert any("received" in line for line in lines)
    assert any("succeeded" in line for line in lines)
    assert all(ident in line for line in lines if line.startswith("["))


def test_run_has_the_broker_and_the_settings_of_the_stack(shop: tuple[Shop, Up]) -> None:
    program = (
        "import os; from django.conf import settings; print(os.environ['CELERY_BROKER_URL'], settings.ROOT_URLCONF)"
    )
    done = do(*shop, "run", "--wait-for", "redis", "python", "manage.py", "shell", "-c", program)
    assert done.stdout.split()[-2:] == [shop[0].broker, "config.urls"], done.stderr


def test_run_has_the_real_terminal_and_a_ctrl_c_of_its_own(shop: tuple[Shop, Up]) -> None:
    import pexpect

    assert isinstance(shop[1].env, dict)
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "devstack", "run", "python", "-q"],
        cwd=str(shop[0].path),
        env={**shop[1].env, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"},  # type: ignore[arg-type]
        timeout=30,
    )
    try:
        terminal.expect(">>> ")
        terminal.sendline("import sys; sys.stdin.isatty() and print('a', 'terminal')")
        terminal.expect("a terminal")
        terminal.expect(">>> ")
        terminal.sendintr()
        terminal.expect("KeyboardInterrupt")
        terminal.expect(">>> ")
        terminal.sendline("raise SystemExit(9)")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close()
    assert terminal.exitstatus == 9
    assert json.loads(do(*shop, "ps", "--json").stdout), "the stack did not notice"
    assert os.path.exists(shop[0].path)
