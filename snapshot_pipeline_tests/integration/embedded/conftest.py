"""Home directories with servers, shared by tests that stop, kill, copy and move them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.embedded.programs import copy_package, installed_package
from snapshot_pipeline_tests.integration.embedded.servers import execute


@pytest.fixture(scope="session")
def shelf() -> Iterator[Path]:
    """A directory that every account can reach; root's server account cannot reach pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="snapshot_pipeline-test-"))
    path.chmod(0o755)
    yield path
    for directory in path.glob("*/postgres"):
        EmbeddedServer(directory.parent).delete()
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def home_with_data(shelf: Path) -> Path:
    """A home with a server that has a table, and a path that careless quoting would break."""
    server = EmbeddedServer(shelf / 'Zoë\'s $HOME, "the 2nd" %d \\ 学习')
    server.start()
    execute(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    execute(server, "ALTER SYSTEM SET fsync = off")  # the tests kill processes, but do not cut the power
    return server.home


@pytest.fixture
def stopped_server(home_with_data: Path) -> EmbeddedServer:
    """The server of the home with data, stopped. Tests restore the files that they change."""
    server = EmbeddedServer(home_with_data)
    server.stop()
    return server


@pytest.fixture
def server(home_with_data: Path) -> EmbeddedServer:
    """The same, running."""
    server = EmbeddedServer(home_with_data)
    server.start()
    return server


@pytest.fixture
def copied_server(stopped_server: EmbeddedServer, shelf: Path) -> EmbeddedServer:
    """The stopped server of a copy of that home, with the same password and the same stored port."""
    home = shelf / "copy"
    if home.exists():
        EmbeddedServer(home).stop()
    else:
        subprocess.run(["cp", "-a", stopped_server.home, home], check=True)
    return EmbeddedServer(home)


@pytest.fixture
def new_server(shelf: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server whose home does not exist yet."""
    server = EmbeddedServer(shelf / request.node.name)
    yield server
    server.delete()


@pytest.fixture(scope="session")
def binaries(shelf: Path) -> Path:
    """A directory with a copy of the package of binaries that every account can reach."""
    copy_package(installed_package(), shelf / "binaries")
    return shelf / "binaries"
