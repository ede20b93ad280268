"""The server and the rights of users: root, an ordinary user, and homes that belong to somebody else."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from snapshot_pipeline.embedded import EmbeddedServer, EmbeddedServerError
from snapshot_pipeline_tests.integration.embedded.servers import (
    IS_ROOT,
    as_ordinary_user,
    data_of,
    execute,
    postmaster,
)

AS_ROOT = pytest.mark.skipif(
    not IS_ROOT, reason="tells of root; run: sudo .venv/bin/pytest snapshot_pipeline_tests/integration"
)


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
    execute(server, "ALTER SYSTEM SET fsync = off")  # as in `home_with_data`
    yield Closed(server, before, permissions_above(home))
    server.delete()


def permissions_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    parents = [parent for parent in path.parents if parent.exists()]
    return {parent: (parent.stat().st_mode, parent.stat().st_uid, parent.stat().st_gid) for parent in parents}


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
    local_executor = EmbeddedServer(home.rename(home.with_name("aside")))
    try:
        closed.server.start()
        place = data_of(closed.server).parent
        assert place != data_of(local_executor).parent
        assert local_executor.is_running()
        closed.server.delete()
        assert not place.exists()
        assert local_executor.is_running()
    finally:
        shutil.rmtree(home)
        local_executor.home.rename(home)


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
def test_root_leaves_another_user_s_server_to_that_user(stopped_server: EmbeddedServer) -> None:
    os.chown(stopped_server.home / "postgres", 65534, 65534)
    with pytest.raises(EmbeddedServerError, match=r"belongs to the user with id 65534.*run as that user"):
        stopped_server.start()
    os.chown(stopped_server.home / "postgres", 0, 0)


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


def test_another_user_s_home_is_refused_in_a_readable_line(
    stopped_server: EmbeddedServer, shelf: Path, binaries: Path
) -> None:
    if not IS_ROOT:
        (stopped_server.home / "postgres" / "password").chmod(0)

    def start_it() -> None:
        with pytest.raises(EmbeddedServerError, match="belongs to another user; run as that user"):
            stopped_server.start()

    directory = shelf / "somebody"
    directory.mkdir()
    try:
        as_ordinary_user(directory, binaries, start_it)
    finally:
        (stopped_server.home / "postgres" / "password").chmod(0o600)
