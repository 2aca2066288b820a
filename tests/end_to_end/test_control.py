"""A running stack, driven from another terminal; over the Unix socket, and over loopback TCP as on Windows."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control import PYTHON, SLEEPS, Driven
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests of Windows have their own folder")


@pytest.fixture(params=["unix", "tcp"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driven]:
    # A short directory: the path of a Unix socket has some 100 bytes at most.
    env = {"DEVSTACK_CONTROL": request.param}
    lines = {"web": SLEEPS, "worker": SLEEPS}
    with Driven(tmp_path / "p", lines, state=tmp_path / "s", env=env) as stack:
        stack.settled()
        yield stack


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Driven]:
    with Driven(tmp_path / "p", {"web": SLEEPS, "worker": SLEEPS}, state=tmp_path / "s") as stack:
        stack.settled()
        yield stack


def test_ps_shows_what_runs_and_only_the_owner_can_reach_it(stack: Driven) -> None:
    rows = stack.rows()
    assert {name: row["phase"] for name, row in rows.items()} == {"web.1": "ready", "worker.1": "ready"}
    os.kill(rows["web.1"]["pid"], 0)
    assert rows["web.1"]["memory"] > 1_000_000
    table = stack.do("ps").stdout.splitlines()
    assert table[0].split() == ["NAME", "PHASE", "PID", "UP", "RESTARTS", "CPU", "MEM", "URL", "WHY"]
    assert table[1].split()[:3] == ["web.1", "ready", str(rows["web.1"]["pid"])]
    assert stack.do("ps", "-f", "Procfile").stdout.splitlines()[0] == table[0]
    files = [each for each in Path(stack.runtime).iterdir() if each.name.startswith("control")]
    expected = "control.tcp" if stack.env["DEVSTACK_CONTROL"] == "tcp" else "control.sock"
    assert [each.name for each in files] == [expected]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


def test_restart_stop_and_start_stay_until_it_is_so(stack: Driven) -> None:
    before = stack.rows()["worker.1"]["pid"]

    done = stack.do("restart", "work*")
    assert done.returncode == 0, done.stderr
    assert re.search(r"worker.1 stopping.*worker.1 ready", done.stderr, re.S)
    again = stack.rows()["worker.1"]
    assert again["pid"] != before
    assert again["restarts"] == 1

    assert stack.do("stop", "worker", "web.1").returncode == 0
    assert {row["phase"] for row in stack.rows().values()} == {"down"}
    assert stack.process.poll() is None, "what a person stopped, a person may start"
    assert stack.do("restart", "worker.1").returncode == 0
    assert stack.do("start", "*").returncode == 0
    assert {row["phase"] for row in stack.rows().values()} == {"ready"}


def test_scale_brings_and_takes_instances(stack: Driven) -> None:
    assert stack.do("scale", "worker=3").returncode == 0
    assert [*stack.rows()] == ["web.1", "worker.1", "worker.2", "worker.3"]
    stack.until(r"worker\.3 +\| up")
    assert stack.do("scale", "worker=1").returncode == 0
    assert [*stack.rows()] == ["web.1", "worker.1"]
    wrong = stack.do("scale", "wroker=2")
    assert (wrong.returncode, 'did you mean "worker"' in wrong.stderr) == (2, True)
    assert stack.do("scale", "worker=many").returncode == 2


def test_down_says_what_it_stops_and_is_over_when_all_is_gone(stack: Driven) -> None:
    done = stack.do("down")
    assert done.returncode == 0
    assert "stopping web.1 and worker.1" in done.stderr
    assert "everything is stopped" in done.stderr
    assert stack.ends() == 0
    assert stack.left() == []
    assert not [each for each in Path(stack.runtime).iterdir() if each.name.startswith("control")]
    for command in (["ps"], ["down"], ["why", "web"], ["restart", "web"], ["wait"], ["scale", "web=2"]):
        nothing = stack.do(*command)
        assert (nothing.returncode, "nothing runs in" in nothing.stderr) == (3, True)


def test_down_names_who_holds_it_up_and_force_does_not_wait(tmp_path: Path) -> None:
    deaf = f"{PYTHON} -uc \"import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)\""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "devstack.toml").write_text("[processes.web]\ngrace = 600\n")
    with Driven(tmp_path / "p", {"web": deaf}, state=tmp_path / "s") as stack:
        stack.settled()
        slow = subprocess.Popen(
            [sys.executable, "-m", "devstack", "down"], cwd=stack.directory, env=stack.env, stderr=subprocess.PIPE
        )
        stack.until("waiting for web.1 to stop")
        assert stack.do("down", "--force").returncode == 0
        assert b"stopping web.1" in slow.communicate(timeout=20)[1]
        assert slow.returncode == 0
        assert stack.ends() == 0


def test_one_that_does_not_come_back_is_told_with_its_reason(tmp_path: Path) -> None:
    flaky = f"""{PYTHON} -uc "import os, sys, time; os.path.exists('broken') and sys.exit('no such luck'); time.sleep(600)" """
    with Driven(tmp_path / "p", {"web": flaky, "other": SLEEPS}, state=tmp_path / "s") as stack:
        stack.settled()
        (stack.directory / "devstack.toml").touch()
        (stack.directory / "broken").touch()
        late = stack.do("restart", "web", "--timeout", "0.2")
        assert (late.returncode, "after 200 ms" in late.stderr) == (1, True)
        done = stack.do("wait", "web")
        assert done.returncode == 1
        assert "error: web.1 is not ready: exited 1: no such luck" in done.stderr

        why = stack.do("why", "web")
        assert "web.1 is failed" in why.stdout
        assert "no such luck" in why.stdout
        assert "(devstack asked it to leave)" in why.stdout
        assert "(by itself)" in why.stdout
        (stack.directory / "broken").unlink()
        assert stack.do("start", "web").returncode == 0


def test_why_tells_a_signal_that_devstack_did_not_send(plain: Driven) -> None:
    os.kill(plain.rows()["web.1"]["pid"], signal.SIGKILL)
    plain.until("web.1 was killed by SIGKILL")
    assert plain.do("wait", "web").returncode == 0
    assert "by a signal that devstack did not send" in plain.do("why", "web.1").stdout
    known = json.loads(plain.do("why", "web.1", "--json").stdout)
    assert known[0]["ends"][0]["code"] == -9


def test_a_name_that_nobody_has_is_refused_with_the_nearest(plain: Driven) -> None:
    for command in (["restart", "wbe"], ["why", "wbe"], ["wait", "wbe"], ["logs", "wbe"]):
        done = plain.do(*command)
        assert (done.returncode, 'did you mean "web' in done.stderr) == (2, True), done.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="elsewhere nobody tells who is suspended")
def test_a_suspended_stack_is_asked_nothing(plain: Driven) -> None:
    """It would obey once it goes on, when nobody wants that any more."""
    os.kill(plain.process.pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, plain.process.pid, os.WSTOPPED | os.WNOWAIT)
        for command in (["ps"], ["down"], ["why", "web"]):
            done = plain.do(*command)
            assert (done.returncode, "the stack is suspended" in done.stderr) == (1, True), done.stderr
            assert f"kill -CONT {plain.process.pid}" in done.stderr
    finally:
        os.kill(plain.process.pid, signal.SIGCONT)
    assert plain.rows()["web.1"]["phase"] == "ready"


def test_what_was_killed_is_replaced_without_a_word(tmp_path: Path) -> None:
    lines = {"web": SLEEPS}
    with Driven(tmp_path / "p", lines, state=tmp_path / "s") as stack:
        stack.settled()
        stack.process.kill()
        stack.process.wait(10)
        assert (Path(stack.runtime) / "control.sock").exists()
        assert stack.do("ps").returncode == 3
    with Driven(tmp_path / "p", lines, state=tmp_path / "s") as stack:
        stack.settled()
        assert stack.rows()["web.1"]["phase"] == "ready"
        assert "socket" not in stack.text
        assert "control" not in stack.text


def test_a_directory_too_deep_for_a_socket_is_driven_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    with Driven(tmp_path / "p", {"web": SLEEPS}, state=deep) as stack:
        stack.settled()
        assert stack.rows()["web.1"]["phase"] == "ready"


def test_up_in_the_background_comes_back_when_all_is_ready(tmp_path: Path) -> None:
    with Driven(tmp_path / "p", {"web": SLEEPS}, "up", "-d", state=tmp_path / "s") as stack:
        stack.until(r"all ready in .*in the background \(pid \d+\)")
        assert stack.ends() == 0
        try:
            assert stack.rows()["web.1"]["phase"] == "ready"
            second = stack.do("up")
            assert second.returncode == 2
            assert "devstack already runs here since" in second.stderr
            assert stack.do("up", "-d").returncode == 2
            follows = Up(stack.directory, "up", "--follow", state=stack.state)
            with follows:
                follows.until(r"web\.1 +\| up")
                assert stack.do("down").returncode == 0
                follows.until("the stack has ended")
                assert follows.ends() == 0
        finally:
            stack.do("down", "--force")
        assert stack.left() == []


def test_after_down_the_exit_code_is_that_of_what_has_failed(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "devstack.toml").write_text("max_failures = 1\n")
    bad = f'{PYTHON} -c "raise SystemExit(7)"'
    with Driven(tmp_path / "p", {"web": SLEEPS, "bad": bad}, state=tmp_path / "s") as stack:
        stack.until(r"bad\.1 failed")
        assert stack.do("down").returncode == 0
        assert stack.ends() == 7


def test_up_in_the_background_says_why_not(tmp_path: Path) -> None:
    bad = f"{PYTHON} -c \"raise SystemExit('no module named shopp')\""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "devstack.toml").write_text("max_failures = 1\n")
    with Driven(tmp_path / "p", {"web": SLEEPS, "bad": bad}, "up", "-d", state=tmp_path / "s") as stack:
        try:
            assert stack.ends() == 1
            assert "error: bad.1 is not ready: exited 1" in stack.text
            assert "bad.1 | no module named shopp" in stack.text
            assert stack.rows()["web.1"]["phase"] in ("starting", "ready")
        finally:
            assert stack.do("down").returncode == 0
    with Driven(tmp_path / "p", {"bad": bad}, "up", "-d", state=tmp_path / "s") as stack:
        assert stack.ends() == 1
        assert stack.do("ps").returncode == 3
    with Driven(tmp_path / "p", {"a b": "nothing"}, "up", "-d", state=tmp_path / "s") as stack:
        assert stack.ends() == 2
        assert "a b: nothing is not a process" in stack.text


def test_run_is_the_stack_s_environment_with_this_terminal(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / ".env").write_text("GREETING=hello world\nPORT=7300\n")
    with Driven(tmp_path / "p", {"web": SLEEPS}, state=tmp_path / "s", env={"TERM": "dumb"}) as stack:
        stack.settled()
        shows = 'echo "$GREETING $PORT $TERM"; pwd; cat; echo "$1" >&2; exit 7'
        done = stack.do(
            "run",
            "--wait-for",
            "web",
            "sh",
            "-c",
            shows,
            "sh",
            "--debug",
            stdin="typed\n",
            TERM="xterm",
            ONLY_HERE="not there",
        )
        assert done.returncode == 7
        assert done.stdout == f"hello world 7300 xterm\n{os.path.realpath(stack.directory)}\ntyped\n"
        assert done.stderr == "--debug\n"
        theirs = stack.do("run", "env", ONLY_HERE="not there").stdout
        assert "ONLY_HERE" not in theirs
        assert "DEVSTACK_RUN=" not in theirs
        missing = stack.do("run", "--", "no-such-program")
        assert (missing.returncode, "command not found" in missing.stderr) == (127, True)
        unknown = stack.do("run", "--wait-for", "rdis", "true")
        assert unknown.returncode == 2
        assert stack.do("down").returncode == 0
        assert stack.do("run", "sh", "-c", "echo $GREETING").stdout == "hello world\n"
        assert stack.do("run", "--wait-for", "web", "true").returncode == 3


def test_secrets_appear_in_nothing_that_we_make(tmp_path: Path) -> None:
    canaries = ["kanarie-one", "kanarie-two", "kanarie-three"]
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / ".env").write_text(
        "STRIPE_KEY=kanarie-one\nDATABASE_URL=postgres://ada:kanarie-two@127.0.0.1/shop\nAPI_TOKEN=kanarie-three\n"
    )
    tells = (
        f"{PYTHON} -uc \"import os, sys; print('key', os.environ['STRIPE_KEY']); "
        "sys.exit('cannot reach ' + os.environ['DATABASE_URL'] + ' with ' + os.environ['API_TOKEN'])\" --token $API_TOKEN"
    )
    (tmp_path / "p" / "devstack.toml").write_text("max_failures = 1\n")
    with Driven(tmp_path / "p", {"bad": tells, "web": SLEEPS}, state=tmp_path / "s") as stack:
        stack.answers()
        assert stack.do("wait", "bad").returncode == 1
        made = [stack.do(*each) for each in (["ps"], ["ps", "--json"], ["ps", "-f", "Procfile"], ["why", "bad"])]
        made += [
            stack.do("why", "*", "--json"),
            stack.do("wait"),
            stack.do("restart", "bad"),
            stack.do("logs", "devstack"),
        ]
        made.append(stack.do("report", "-o", "report.zip"))
        texts = [done.stdout + done.stderr for done in made]
        with zipfile.ZipFile(stack.directory / "report.zip") as archive:
            assert {"versions.txt", "check.txt", "ps.txt", "logs/bad.1.log", "logs/devstack.log"} <= set(
                archive.namelist()
            )
            texts += [archive.read(name).decode() for name in archive.namelist()]
        assert any("cannot reach" in text for text in texts), "otherwise nothing was there to be masked"
        for canary in canaries:
            assert not [text for text in texts if canary in text]


def test_the_words_of_the_shell_are_completed(plain: Driven) -> None:
    def offered(words: str, shell: str) -> list[str]:
        *_, last = typed = words.split()
        number = last if shell == "fish" else str(len(typed) - 1)
        done = plain.do(_DEVSTACK_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_WORD=last, COMP_CWORD=number)
        return re.findall(r"web\S*|wor\S*", done.stdout)

    assert offered("devstack restart w", "bash") == ["web", "worker", "web.1", "worker.1"]
    assert offered("devstack restart w", "powershell") == ["web", "worker", "web.1", "worker.1"]
    assert offered("devstack scale wo", "zsh") == ["worker="]
    plain.do("down")
    assert offered("devstack up wor", "fish") == ["worker"]
    for shell in ("bash", "zsh", "fish", "powershell"):
        assert "devstack" in plain.do("completion", shell).stdout


def test_a_watcher_sees_a_change(plain: Driven) -> None:
    with Up(plain.directory, "ps", "--watch", state=plain.state) as watch:
        watch.until(r"web\.1 +ready")
        assert plain.do("stop", "web").returncode == 0
        watch.until(r"web\.1 +down")
        assert plain.do("down").returncode == 0
        assert watch.ends() == 1
    assert "Traceback" not in watch.text


def test_nothing_else_listens(plain: Driven) -> None:
    """Not on any address, with a Unix socket."""
    import psutil

    assert psutil.Process(plain.process.pid).net_connections("inet") == []


def test_d_with_the_directory_of_a_project_is_that_of_honcho(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "Procfile").write_text(f"web: {PYTHON} -c 'import os; print(os.getcwd())'\n")
    done = subprocess.run(
        [sys.executable, "-m", "devstack", "up", "-d", "p"],
        cwd=tmp_path,
        env={**os.environ, "DEVSTACK_STATE_DIR": str(tmp_path / "s")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"| {os.path.realpath(tmp_path / 'p')}\n" in done.stdout
    assert done.returncode == 0
