"""The server under root, under an ordinary user, and in homes of other users."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from snapshot_pipeline.embedded import EmbeddedServer, EmbeddedServerError
from snapshot_pipeline.home import HomeError
from snapshot_pipeline_tests.integration.embedded.servers import (
    IS_ROOT,
    as_ordinary_user,
    data_of,
    execute,
    postmaster,
)

AS_ROOT = pytest.mark.skipif(
    not IS_ROOT, reason="needs root; run: sudo .venv/bin/pytest snapshot_pipeline_tests/integration"
)


@dataclass(frozen=True)
class ServerInPrivateDirectory:
    """A running server whose home is below a directory that only its owner can enter.

    Attributes:
        before: Mode and owner of every directory above the home before the start.
        after: The same after the start.
    """

    server: EmbeddedServer
    before: dict[Path, tuple[int, int, int]]
    after: dict[Path, tuple[int, int, int]]


@pytest.fixture(scope="module")
def private(shelf: Path) -> Iterator[ServerInPrivateDirectory]:
    home = shelf / "private" / "deep" / "home"
    home.parent.mkdir(parents=True)
    home.parent.parent.chmod(0o700)
    before = permissions_above(home)
    server = EmbeddedServer(home)
    server.start()
    execute(server, "ALTER SYSTEM SET fsync = off")  # as in `home_with_data`
    yield ServerInPrivateDirectory(server, before, permissions_above(home))
    server.delete()


def permissions_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    parents = [parent for parent in path.parents if parent.exists()]
    return {parent: (parent.stat().st_mode, parent.stat().st_uid, parent.stat().st_gid) for parent in parents}


def test_no_permission_above_the_home_changes(private: ServerInPrivateDirectory) -> None:
    assert private.after == private.before
    assert execute(private.server, "SELECT 1") == [(1,)]


@AS_ROOT
def test_root_keeps_the_cluster_where_its_server_account_can_reach_it(private: ServerInPrivateDirectory) -> None:
    cluster_dir = data_of(private.server).parent
    assert private.server.home not in cluster_dir.parents
    assert (cluster_dir / "home").read_text() == f"{private.server.home}\n"
    assert postmaster(private.server).uids().real != 0
    assert stat.S_IMODE(data_of(private.server).stat().st_mode) == 0o700
    assert stat.S_IMODE((private.server.home / "postgres" / "password").stat().st_mode) == 0o600
    postmaster(private.server).kill()
    private.server.start()


@AS_ROOT
def test_a_recreated_home_of_root_gets_a_new_cluster(private: ServerInPrivateDirectory) -> None:
    """The old cluster has another password; a directory name derived from the home's path would find it again."""
    home = private.server.home
    moved = EmbeddedServer(home.rename(home.with_name("moved")))
    try:
        private.server.start()
        cluster_dir = data_of(private.server).parent
        assert cluster_dir != data_of(moved).parent
        assert moved.is_running()
        private.server.delete()
        assert not cluster_dir.exists()
        assert moved.is_running()
    finally:
        shutil.rmtree(home)
        moved.home.rename(home)


@AS_ROOT
def test_root_copies_binaries_that_its_server_account_cannot_reach(
    shelf: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries.chmod(0o700)  # as a virtual environment below /root
    monkeypatch.syspath_prepend(binaries)
    server = EmbeddedServer(shelf / "binaries closed")
    old_copy = server.home / "postgres" / "binaries-0.0.1"
    old_copy.mkdir(parents=True)
    server.start()
    program = Path(postmaster(server).cmdline()[0])
    assert server.home in program.parents
    assert not old_copy.exists()
    assert stat.S_IMODE(binaries.stat().st_mode) == 0o700
    server.delete()
    binaries.chmod(0o755)


@AS_ROOT
def test_root_refuses_the_server_of_another_user(stopped_server: EmbeddedServer) -> None:
    os.chown(stopped_server.home / "postgres", 65534, 65534)
    with pytest.raises(HomeError, match=r"belongs to the user with id 65534.*run as that user"):
        stopped_server.start()
    os.chown(stopped_server.home / "postgres", 0, 0)


def test_an_ordinary_user_can_start_and_stop_a_server(shelf: Path, binaries: Path) -> None:
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


def test_the_home_of_another_user_is_refused_in_one_line(
    stopped_server: EmbeddedServer, shelf: Path, binaries: Path
) -> None:
    if not IS_ROOT:
        (stopped_server.home / "postgres" / "password").chmod(0)

    def start_it() -> None:
        with pytest.raises(EmbeddedServerError, match="belongs to another user; run as that user"):
            stopped_server.start()

    directory = shelf / "other user"
    directory.mkdir()
    try:
        as_ordinary_user(directory, binaries, start_it)
    finally:
        (stopped_server.home / "postgres" / "password").chmod(0o600)
