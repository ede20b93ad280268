"""SNAPSHOT_HOME: its modes, and links and other accounts' directories that are refused before anything is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.embedded.directory import ServerDirectory
from snapshot_pipeline.home import HomeError, create_directory, create_home

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose refusals are tested")
NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids="{:03o}".format)
def _any_umask(request: pytest.FixtureRequest):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_any_umask")
def test_a_new_home_can_be_passed_through_and_only_reports_be_listed(tmp_path: Path):
    home = tmp_path / "new" / "home"
    for name in ("reports", "students", "logs", "artifacts"):
        assert create_directory(home, name) == home / name
    assert mode(home) == 0o711
    modes = {path.name: mode(path) for path in home.iterdir()}
    assert modes == {"reports": 0o755, "students": 0o700, "logs": 0o700, "artifacts": 0o700}


def test_an_open_home_of_ours_is_tightened_and_a_closed_one_stays(tmp_path: Path):
    home = tmp_path / "home"
    for before, after in ((0o755, 0o711), (0o700, 0o700), (0o711, 0o711)):
        home.mkdir(exist_ok=True)
        home.chmod(before)
        (home / "logs").mkdir(exist_ok=True)
        (home / "logs").chmod(0o755)
        create_directory(home, "logs")
        assert (mode(home), mode(home / "logs")) == (after, 0o700)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory with a file and a mode that nothing may change."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o750)
    for name in ("port", "password", "lock", "location"):
        (victim / name).write_text("1")
    return victim


@pytest.mark.parametrize("method", ["start", "stop", "delete", "is_running"])
@pytest.mark.parametrize("linked", ["postgres", ""], ids=["postgres", "home"])
def test_a_link_in_place_of_a_directory_is_refused_and_not_followed(
    method: str, linked: str, victim: Path, tmp_path: Path
):
    home = tmp_path / "home"
    if linked:
        home.mkdir()
    (home / linked).symlink_to(victim)
    assert (home / linked / "port").exists()
    before = sorted(victim.iterdir()), mode(victim)
    with pytest.raises(HomeError, match=r"is a link to .*victim; set SNAPSHOT_HOME"):
        getattr(EmbeddedServer(home), method)()
    for name in ("reports", "students", "logs"):
        if linked:
            (home / name).symlink_to(victim)
        with pytest.raises(HomeError, match="is a link"):
            create_directory(home, name)
    assert (sorted(victim.iterdir()), mode(victim)) == before


@AS_ROOT
@pytest.mark.parametrize("method", ["start", "stop", "delete", "is_running"])
@pytest.mark.parametrize(
    ("owner", "rights", "reason"),
    [
        (NOBODY, 0o755, "belongs to the user with id 65534"),
        (0, 0o777, r"other accounts can write to .* \(mode 0777\)"),
        (0, 0o1777, r"other accounts can write to .* \(mode 1777\)"),
        (0, 0o770, r"other accounts can write to .* \(mode 0770\)"),
    ],
)
def test_root_refuses_a_home_that_another_account_can_write(
    method: str, owner: int, rights: int, reason: str, tmp_path: Path
):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(rights)
    os.chown(home, owner, owner)
    with pytest.raises(HomeError, match=rf"{home}.*{reason}|{reason}.*root"):
        getattr(EmbeddedServer(home), method)()
    with pytest.raises(HomeError):
        create_home(home)
    assert (list(home.iterdir()), mode(home)) == ([], rights)


def test_no_other_account_can_hold_the_lock_that_keeps_a_server_out(tmp_path: Path):
    """A file that others can open for reading is one that they can lock."""
    directory = ServerDirectory(tmp_path / "home")
    create_directory(directory.home, "postgres", 0o711)
    alive = directory.path / "alive"
    alive.touch()
    alive.chmod(0o644)  # as an earlier version left it
    with directory.alive_lock():
        assert mode(alive) == 0o600
        assert directory.is_alive_locked()
    if os.geteuid() == 0:
        tmp_path.chmod(0o755)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(PermissionError):
                alive.open("rb")
        finally:
            os.seteuid(0)
    alive.unlink()
    with directory.alive_lock():
        assert mode(alive) == 0o600
