"""Fixtures: the sample platform on a primary with a replica."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.sample import load_sample
from snapshot_pipeline_tests.integration.replica.servers import await_replay, enable_replication, query, replica
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SAMPLE,
    SUNDAY,
    Tables,
    execute,
    installation_on,
    published,
    recommended,
)


@dataclass(frozen=True)
class Pair:
    """The database `platform` of a primary, with the sample, and of its replica.

    Attributes:
        primary: URL on the primary.
        standby: URL on the replica.
        expected: Rows of a run over the Sunday and its week that reads from the primary.
    """

    primary: URL
    standby: URL
    expected: Tables

    def pause(self) -> None:
        """Pause the replay of the replica."""
        query(self.standby, "SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        """Resume the replay of the replica."""
        query(self.standby, "SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="snapshot_pipeline-test-") as home:
        server = EmbeddedServer(Path(home))
        server.start()
        try:
            enable_replication(server)
            primary = server.url("platform")
            load_sample(SAMPLE, primary, "public")
            with installation_on(primary) as installation:
                run_days(installation, SUNDAY, SUNDAY, "from the primary")
                run_week(installation, MONDAY, "from the primary")
                expected = {**published(installation), **recommended(installation)}
            with replica(server) as standby:
                yield Pair(primary, standby, expected)
        finally:
            server.delete()


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """A pair without published rows, whose replica is up to date."""
    tables = "performance_snapshots, snapshot_failures, snapshot_days, snapshot_restatements, adaptive_recommendations"
    execute(servers.primary, f"TRUNCATE {tables}")
    await_replay(servers.primary, servers.standby)
    yield servers
    servers.resume()
    await_replay(servers.primary, servers.standby)
