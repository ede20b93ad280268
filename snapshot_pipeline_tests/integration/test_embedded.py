"""The embedded server: one per home, whatever was killed, copied, rebooted or forbidden before."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2
import pytest

from snapshot_pipeline import embedded
from snapshot_pipeline.embedded import DATABASES, EmbeddedServer, EmbeddedServerError

IS_ROOT = os.geteuid() == 0
AS_ROOT = pytest.mark.skipif(
    not IS_ROOT, reason="tells of root; run: sudo .venv/bin/pytest snapshot_pipeline_tests/integration"
)
START = "import sys; from pathlib import Path; from snapshot_pipeline.embedded import EmbeddedServer; "
START += "server = EmbeddedServer(Path(sys.argv[1])); server.start(); "
PRINT_URL = "print(server.url('platform').render_as_string(hide_password=False))"


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    """A directory that every account can pass through; pytest's own is closed to the account that root uses."""
    path = Path(tempfile.mkdtemp(prefix="snapshot_pipeline-test-"))
    path.chmod(0o755)
    yield path
    for directory in path.glob("*/postgres"):
        EmbeddedServer(directory.parent).delete()
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def home_with_data(shelf: Path) -> Path:
    """A home whose server was started, and given a table. Tests may kill and stop the server, and share the home."""
    server = EmbeddedServer(shelf / "home")
    server.start()
    execute(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    return server.home


@pytest.fixture
def server(home_with_data: Path) -> EmbeddedServer:
    """The server of the home with data, stopped."""
    server = EmbeddedServer(home_with_data)
    server.stop()
    return server


@pytest.fixture
def copied_server(server: EmbeddedServer, shelf: Path) -> EmbeddedServer:
    """The stopped server of a copy of that home: the same password, and the same port in its file."""
    home = shelf / "copy"
    if home.exists():
        EmbeddedServer(home).stop()
    else:
        subprocess.run(["cp", "-a", server.home, home], check=True)
    return EmbeddedServer(home)


@pytest.fixture(scope="module")
def binaries(shelf: Path) -> Path:
    """A directory with a copy of the package of binaries, which every account reaches."""
    spec = embedded.importlib.util.find_spec(embedded.PACKAGE)
    assert spec is not None
    embedded._copy_binaries(Path((spec.submodule_search_locations or [""])[0]), shelf / "binaries")
    return shelf / "binaries"


@dataclass(frozen=True)
class Closed:
    """A running server whose home is below a directory that only its owner enters."""

    server: EmbeddedServer
    before: dict[Path, tuple[int, int, int]]
    after: dict[Path, tuple[int, int, int]]


@pytest.fixture(scope="module")
def closed(shelf: Path) -> Iterator[Closed]:
    """Started once; `before` and `after` are mode and owner of every directory above the home."""
    home = shelf / "private" / "deep" / "home"
    home.parent.mkdir(parents=True)
    home.parent.parent.chmod(0o700)
    before = permissions_above(home)
    server = EmbeddedServer(home)
    server.start()
    yield Closed(server, before, permissions_above(home))
    server.delete()


@pytest.fixture
def new_server(shelf: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server whose home does not exist yet."""
    server = EmbeddedServer(shelf / request.node.name)
    yield server
    server.delete()


def execute(server: EmbeddedServer, statement: str, database: str = "platform") -> list[tuple[object, ...]]:
    url = server.url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def postmaster(server: EmbeddedServer) -> psutil.Process:
    return psutil.Process(int((data_of(server) / "postmaster.pid").read_text().split()[0]))


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; where nobody reaps orphans, as in many containers, a zombie stays."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def data_of(server: EmbeddedServer) -> Path:
    location = server.home / "postgres" / "location"
    return Path(location.read_text().strip() if location.exists() else location.parent) / "data"


def permissions_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    parents = [parent for parent in path.parents if parent.exists()]
    return {parent: (parent.stat().st_mode, parent.stat().st_uid, parent.stat().st_gid) for parent in parents}


def client(home: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", START + code, home], stdout=subprocess.PIPE, text=True)


def test_a_first_start_gives_both_databases_in_utc_on_loopback_only(new_server: EmbeddedServer) -> None:
    new_server.start()

    for database in DATABASES:
        assert execute(new_server, "SHOW timezone", database) == [("UTC",)]
    assert execute(new_server, "SELECT datcollate FROM pg_database WHERE datname = 'platform'") == [("C",)]
    listening = [
        connection.laddr.ip for connection in postmaster(new_server).net_connections("inet") if not connection.raddr
    ]
    assert listening == ["127.0.0.1"]
    assert postmaster(new_server).net_connections("unix") == []


def test_only_the_owner_reads_the_password_and_no_process_list_shows_it(server: EmbeddedServer) -> None:
    server.start()

    password = server.url("platform").password
    assert password is not None
    for name in ("password", "port", "server.log", "lock"):
        assert stat.S_IMODE((server.home / "postgres" / name).stat().st_mode) == 0o600, name
    for process in psutil.process_iter(["cmdline"]):
        assert password not in " ".join(process.info["cmdline"] or [])
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host="127.0.0.1", port=server.url("platform").port, user="snapshot", password="guess")  # noqa: S106


def test_no_secret_of_the_client_reaches_the_server_process(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", "postgresql://someone:secret@elsewhere/platform")
    server.start()
    assert set(postmaster(server).environ()) <= {"PATH", "LD_LIBRARY_PATH", "LC_ALL", "TZ", "PWD"} | {
        name for name in postmaster(server).environ() if name.startswith("PG")
    }


def test_a_second_start_leaves_the_running_server_alone(server: EmbeddedServer) -> None:
    server.start()
    first = postmaster(server)
    execute(server, "SELECT 1")
    EmbeddedServer(server.home).start()
    assert postmaster(server) == first


def test_a_restart_keeps_the_data_and_the_url(server: EmbeddedServer) -> None:
    server.start()
    url = server.url("platform")
    assert server.stop() is True
    assert server.stop() is False
    assert not server.is_running()
    server.start()
    assert server.url("platform") == url
    assert execute(server, "SELECT answer FROM kept") == [(42,)]


def test_stopping_ends_what_is_connected(server: EmbeddedServer) -> None:
    server.start()
    url = server.url("platform").set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(url)) as connection:
        assert server.stop() is True
        with pytest.raises(psycopg2.OperationalError):
            connection.cursor().execute("SELECT 1")


def test_a_path_may_hold_spaces_quotes_and_letters_of_any_script(shelf: Path) -> None:
    server = EmbeddedServer(shelf / 'Zoë\'s $HOME, "the 2nd" %d \\ 学习')
    server.start()
    assert execute(server, "SELECT 1") == [(1,)]
    server.stop()
    server.start()
    server.delete()


def test_two_homes_have_two_servers(server: EmbeddedServer, copied_server: EmbeddedServer) -> None:
    server.start()
    assert not copied_server.is_running()  # though the password is right, and the port is the one in its file
    copied_server.start()
    assert copied_server.url("platform").port != server.url("platform").port
    execute(server, "CREATE TABLE mine (a int)")
    assert execute(copied_server, "SELECT to_regclass('mine')") == [(None,)]
    assert copied_server.stop() is True
    assert server.is_running()


def test_a_killed_server_starts_again_with_its_data(server: EmbeddedServer) -> None:
    server.start()
    execute(server, "CREATE TABLE written_just_before AS SELECT 43")
    killed = postmaster(server)
    killed.kill()
    server.start()
    assert postmaster(server).pid != killed.pid
    assert execute(server, "TABLE written_just_before") == [(43,)]
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_a_query_that_outlives_its_killed_server_does_not_keep_the_new_one_out(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy backend does not notice that its postmaster is dead, and holds the shared memory until it is done."""
    monkeypatch.setattr(embedded, "ORPHAN_SECONDS", 1.0)
    server.start()
    url = server.url("platform").set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(url, async_=True)) as busy:
        while busy.poll() != psycopg2.extensions.POLL_OK:
            time.sleep(0.01)
        busy.cursor().execute("SELECT count(*) FROM generate_series(1, 1e6) a, generate_series(1, 1e6) b")
        backend = psutil.Process(busy.get_backend_pid())
        time.sleep(0.2)
        postmaster(server).kill()
        server.start()
        assert execute(server, "SELECT answer FROM kept") == [(42,)]
        assert is_gone(backend)


@pytest.mark.parametrize("seconds", [0.8, 1.4])
def test_a_client_killed_at_any_moment_of_the_first_start_leaves_nothing_in_the_way(
    new_server: EmbeddedServer, seconds: float
) -> None:
    first = client(new_server.home, "")
    time.sleep(seconds)
    first.kill()
    first.wait()
    new_server.start()
    assert execute(new_server, "SELECT 1", "dagster") == [(1,)]
    new_server.stop()
    new_server.start()  # the killed client's initdb, which may have run on, has ended by now
    assert list(data_of(new_server).parent.glob("new-*")) == []


def test_the_server_outlives_a_client_that_is_killed_or_interrupted(server: EmbeddedServer) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", START + "print('started', flush=True); import time; time.sleep(60)", server.home],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "started\n"
    os.killpg(first.pid, signal.SIGINT)  # Ctrl-C in its terminal
    first.wait()
    assert server.is_running()
    second = client(server.home, "print('found', flush=True); import time; time.sleep(60)")
    assert second.stdout is not None
    assert second.stdout.readline() == "found\n"
    second.kill()
    second.wait()
    assert server.is_running()


def test_after_a_reboot_a_file_that_names_a_dead_process_is_no_obstacle(server: EmbeddedServer) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    leave_pid_file(server, gone.pid)
    assert not server.is_running()
    server.start()
    assert server.is_running()


def test_after_a_reboot_an_unrelated_process_with_the_old_id_is_left_alone(server: EmbeddedServer) -> None:
    with subprocess.Popen(["sleep", "60"]) as unrelated:
        leave_pid_file(server, unrelated.pid)
        assert not server.is_running()
        assert server.stop() is False
        server.start()
        assert server.is_running()
        assert unrelated.poll() is None
        unrelated.kill()


def test_after_a_reboot_another_home_s_server_with_the_old_id_is_left_alone(
    server: EmbeddedServer, copied_server: EmbeddedServer
) -> None:
    copied_server.start()
    leave_pid_file(server, postmaster(copied_server).pid)
    assert server.stop() is False
    server.start()
    assert server.is_running()
    assert copied_server.stop() is True
    assert server.is_running()


def leave_pid_file(server: EmbeddedServer, pid: int) -> None:
    """Leave postmaster.pid as a server that was not stopped does."""
    server.start()
    path = data_of(server) / "postmaster.pid"
    lines = path.read_text().split("\n")
    server.stop()
    path.write_text("\n".join([str(pid), *lines[1:]]))
    shutil.chown(path, data_of(server).stat().st_uid, data_of(server).stat().st_gid)


def test_several_processes_that_start_it_at_once_share_one_server(new_server: EmbeddedServer) -> None:
    processes = [client(new_server.home, PRINT_URL) for _ in range(5)]
    urls = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 5
    assert urls == {new_server.url("platform").render_as_string(hide_password=False)}
    assert new_server.is_running()


def test_when_a_stranger_has_taken_the_port_another_is_chosen(server: EmbeddedServer) -> None:
    server.start()
    port = server.url("platform").port
    server.stop()
    assert port is not None
    with socket.create_server(("127.0.0.1", port)):
        server.start()
        assert server.url("platform").port != port
        assert execute(server, "SELECT answer FROM kept") == [(42,)]


def test_a_forgotten_port_is_learned_from_the_running_server(server: EmbeddedServer) -> None:
    server.start()
    url = server.url("platform")
    (server.home / "postgres" / "port").write_text("1\n")
    server.start()
    assert server.url("platform") == url


def test_a_home_that_is_moved_while_its_server_runs_is_found_again(server: EmbeddedServer, shelf: Path) -> None:
    server.start()
    running = postmaster(server)
    moved = EmbeddedServer(server.home.rename(shelf / "moved"))
    moved.start()
    assert postmaster(moved) == running
    assert moved.stop() is True
    assert is_gone(running)
    moved.home.rename(server.home)


def test_a_server_in_another_container_on_the_same_directory_keeps_us_out(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers on one cluster destroy it, and neither sees the other's processes: the inherited lock tells."""
    monkeypatch.setattr(embedded, "ORPHAN_SECONDS", 0.2)
    server.start()
    monkeypatch.setattr(EmbeddedServer, "_is_ours", lambda *_: False)
    (server.home / "postgres" / "port").write_text("1\n")
    with pytest.raises(EmbeddedServerError, match="in another container"):
        server.start()
    monkeypatch.undo()
    server.start()
    assert server.stop() is True


def test_a_server_that_was_started_by_hand_is_not_doubled(server: EmbeddedServer) -> None:
    account = server._account()
    command = [embedded._binaries(server._place(), account) / "postgres", "-D", data_of(server), "-p", "29999"]
    command += ["-c", "unix_socket_directories="]
    by_hand = subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL, **(account.arguments if account else {}))
    while not (data_of(server) / "postmaster.pid").exists():
        time.sleep(0.02)
    time.sleep(0.1)
    with pytest.raises(EmbeddedServerError, match="started by hand"):
        server.start()
    by_hand.send_signal(signal.SIGINT)
    by_hand.wait()
    server.start()


def test_a_pgsslmode_for_another_server_does_not_shut_this_one(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    server.start()
    monkeypatch.delenv("PGHOSTADDR")
    assert execute(server, "SELECT answer FROM kept") == [(42,)]


def test_the_url_of_a_server_that_never_was_says_so(new_server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedServerError, match="no embedded server was ever started below"):
        new_server.url("platform")
    assert not new_server.home.exists()
    assert new_server.stop() is False
    assert not new_server.home.exists()


def test_a_lost_password_is_told_and_the_data_are_not_thrown_away(server: EmbeddedServer) -> None:
    password = server.home / "postgres" / "password"
    kept = password.rename(server.home / "kept")
    with pytest.raises(EmbeddedServerError, match=r"password is missing.*put it back"):
        server.start()
    kept.rename(password)
    server.start()
    assert execute(server, "SELECT answer FROM kept") == [(42,)]


def test_a_wrong_password_file_is_told_at_once(server: EmbeddedServer) -> None:
    password = server.home / "postgres" / "password"
    kept = password.read_text()
    password.write_text("wrong\n")
    with pytest.raises(EmbeddedServerError, match="does not accept the password in"):
        server.start()
    password.write_text(kept)
    assert server.stop() is True


def test_a_broken_cluster_is_told_with_the_end_of_the_log(server: EmbeddedServer) -> None:
    (data_of(server) / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerError, match=r"server\.log: .*incompatible with server") as caught:
        server.start()
    assert "\n" not in str(caught.value)
    (data_of(server) / "PG_VERSION").write_text("18\n")


def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(EmbeddedServerError, match="set SNAPSHOT_HOME to a directory that you can write"):
        EmbeddedServer(tmp_path / "home").start()


def test_no_permission_above_the_home_changes(closed: Closed) -> None:
    assert closed.after == closed.before
    assert execute(closed.server, "SELECT 1") == [(1,)]


@AS_ROOT
def test_root_under_a_closed_directory_keeps_the_cluster_where_its_account_can_reach(closed: Closed) -> None:
    place = data_of(closed.server).parent
    assert closed.server.home not in place.parents
    assert (place / "home").read_text() == f"{closed.server.home}\n"
    assert postmaster(closed.server).uids().real != 0
    assert stat.S_IMODE(data_of(closed.server).stat().st_mode) == 0o700
    assert stat.S_IMODE((closed.server.home / "postgres" / "password").stat().st_mode) == 0o600
    postmaster(closed.server).kill()
    closed.server.start()


@AS_ROOT
def test_root_whose_home_is_deleted_and_remade_meets_no_old_cluster(closed: Closed) -> None:
    """The old cluster has another password; a name derived from the home's path would bring them together."""
    home = closed.server.home
    aside = EmbeddedServer(home.rename(home.with_name("aside")))
    try:
        closed.server.start()
        place = data_of(closed.server).parent
        assert place != data_of(aside).parent
        assert aside.is_running()
        closed.server.delete()
        assert not place.exists()
        assert aside.is_running()
    finally:
        shutil.rmtree(home)
        aside.home.rename(home)


@AS_ROOT
def test_root_whose_binaries_are_closed_to_the_account_runs_a_copy_of_them(
    shelf: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries.chmod(0o700)  # as a virtual environment below /root
    monkeypatch.syspath_prepend(binaries)
    server = EmbeddedServer(shelf / "binaries closed")
    of_an_older_version = server.home / "postgres" / "binaries-0.0.1"
    of_an_older_version.mkdir(parents=True)
    server.start()
    program = Path(postmaster(server).cmdline()[0])
    assert server.home in program.parents
    assert not of_an_older_version.exists()
    assert stat.S_IMODE(binaries.stat().st_mode) == 0o700
    server.delete()
    binaries.chmod(0o755)


@AS_ROOT
def test_root_leaves_another_user_s_server_to_that_user(server: EmbeddedServer) -> None:
    os.chown(server.home / "postgres", 65534, 65534)
    with pytest.raises(EmbeddedServerError, match=r"belongs to the user with id 65534.*run as that user"):
        server.start()
    os.chown(server.home / "postgres", 0, 0)


def test_an_ordinary_user_needs_no_rights_of_root(shelf: Path, binaries: Path) -> None:
    directory = shelf / "ordinary"
    directory.mkdir()

    def start_kill_and_stop() -> None:
        server = EmbeddedServer(directory / "home")
        server.start()
        assert execute(server, "SELECT 1", "dagster") == [(1,)]
        postmaster(server).kill()
        server.start()
        assert postmaster(server).uids().real == os.geteuid() != 0
        assert stat.S_IMODE((server.home / "postgres").stat().st_mode) == 0o700
        assert server.stop() is True
        assert server.stop() is False

    as_ordinary_user(directory, binaries, start_kill_and_stop)


def test_another_user_s_home_is_refused_in_a_readable_line(server: EmbeddedServer, shelf: Path, binaries: Path) -> None:
    if not IS_ROOT:
        (server.home / "postgres" / "password").chmod(0)

    def start_it() -> None:
        with pytest.raises(EmbeddedServerError, match="belongs to another user; run as that user"):
            server.start()

    directory = shelf / "somebody"
    directory.mkdir()
    as_ordinary_user(directory, binaries, start_it)
    (server.home / "postgres" / "password").chmod(0o600)


def as_ordinary_user(directory: Path, binaries: Path, function: Callable[[], None]) -> None:
    """Run `function` as a user without rights, who owns `directory`; as whoever runs the tests, unless that is root.

    A fork that gives its rights up keeps the modules that are loaded: root's Python may lie where nobody else reaches.
    """
    if not IS_ROOT:
        function()
        return
    user = pwd.getpwnam("nobody")
    os.chown(directory, user.pw_uid, user.pw_gid)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            sys.path.insert(0, str(binaries))
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - a forked test must never return into pytest
            (directory / "failure").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, (directory / "failure").read_text()
