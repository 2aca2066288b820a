"""`--redis-docker` and `[redis] docker`: our Redis in a container, which never outlives the stack for long. The daemon is a fake one."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fake_docker
from tests.support.redis_server import eventually
from tests.support.shop import Shop, make_shop
from tests.support.up import Up, marked

PROCFILE = "worker: celery -A config worker --loglevel=INFO --concurrency=1\n"


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Path]:
    directory = fake_docker.install(tmp_path / "docker bin")
    yield directory
    for pid in fake_docker.containers(directory).values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def small_shop(directory: Path) -> Shop:
    shop = make_shop(directory)
    (shop.path / "Procfile").write_text(PROCFILE)
    return shop


def test_redis_runs_in_a_container_at_the_brokers_port_and_goes_with_the_stack(tmp_path: Path, docker: Path) -> None:
    shop = small_shop(tmp_path)
    (docker / "images").write_text("")
    with Up(shop.path, "up", "--redis-docker", env={"PATH": fake_docker.path(docker)}) as up:
        up.until("docker fetches redis:7-alpine, this once")
        up.until(r"nothing answered at 127.0.0.1:\d+: docker runs redis:7-alpine there, and its data goes with it")
        up.until("all ready")
        (name,) = fake_docker.containers(docker)
        up.ctrl_c()
        assert up.ends() == 130
        assert up.left() == []
    assert fake_docker.containers(docker) == {}
    (run,) = [each for each in fake_docker.calls(docker) if each.startswith("run ")]
    port = shop.broker.rpartition(":")[2].removesuffix("/0")
    assert run == (
        f"run --rm --interactive --name {name} --label devstack --publish 127.0.0.1:{port}:6379 redis:7-alpine -"
    )
    assert not (shop.path / "dump.rdb").exists()


def test_a_container_that_a_killed_up_left_behind_is_removed_by_the_next_one(tmp_path: Path, docker: Path) -> None:
    shop = small_shop(tmp_path)
    (shop.path / "devstack.toml").write_text("[redis]\ndocker = true\n")
    env = {"PATH": fake_docker.path(docker)}
    # The guardian's TERM does not reach the container, its KILL ends the client alone.
    (docker / "deaf").write_text("yes")
    with Up(shop.path, "up", env=env, state=tmp_path / "state") as up:
        up.until("all ready")
        up.process.kill()
        up.process.wait()
        eventually(lambda: not marked(up.mark), "end of what devstack started")
    ((name, first),) = fake_docker.containers(docker).items()
    (docker / "deaf").unlink()
    with Up(shop.path, "up", env=env, state=tmp_path / "state") as up:
        up.until(f"removed the container {name}, which an earlier devstack up left behind")
        up.until("all ready")
        assert "it is not ours" not in up.text
        ((again, second),) = fake_docker.containers(docker).items()
        assert (again, first != second) == (name, True)
        up.ctrl_c()
        assert up.ends() == 130
    assert fake_docker.containers(docker) == {}


def test_a_client_that_dies_is_started_again_with_a_new_container(tmp_path: Path, docker: Path) -> None:
    shop = small_shop(tmp_path)
    with Up(shop.path, "up", "--redis-docker", env={"PATH": fake_docker.path(docker)}) as up:
        up.until("all ready")
        ((name, first),) = fake_docker.containers(docker).items()
        (client,) = [pid for pid in up.left() if b"\0--publish\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(client, signal.SIGKILL)
        up.until("redis.1 is ready", times=2)
        ((again, second),) = fake_docker.containers(docker).items()
        assert (again, first != second) == (name, True)
        up.ctrl_c()
        assert up.ends() == 130
    assert fake_docker.containers(docker) == {}


def test_a_container_that_ignores_the_stop_is_removed_at_the_end(tmp_path: Path, docker: Path) -> None:
    shop = small_shop(tmp_path)
    (docker / "deaf").write_text("yes")
    with Up(shop.path, "up", "--redis-docker", env={"PATH": fake_docker.path(docker)}) as up:
        up.until("all ready")
        up.ctrl_c()
        up.until("worker.1 stopped")
        up.ctrl_c()
        up.ends()
    assert fake_docker.containers(docker) == {}


def test_without_a_daemon_nothing_starts_and_the_error_says_so(tmp_path: Path, docker: Path) -> None:
    shop = small_shop(tmp_path)
    (docker / "daemon-fails").write_text(fake_docker.NO_DAEMON)
    with Up(shop.path, "up", "--redis-docker", env={"PATH": fake_docker.path(docker)}) as up:
        assert up.ends() == 2
        up.until(r"cannot run redis:7-alpine for Redis +\(--redis-docker\)")
        up.until("why: Cannot connect to the Docker daemon at unix:///var/run/docker.sock")
        up.until("try: start it .*or leave Docker out")
