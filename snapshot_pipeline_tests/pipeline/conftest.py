"""The sample platform, loaded once and copied for each test that changes something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.sample import load_sample
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, SAMPLE, installation_on, new_database


@pytest.fixture(scope="session")
def sample_template(server_url: URL) -> Iterator[URL]:
    """A database with `SAMPLE` and our empty tables; never changed, only copied."""
    with new_database(server_url) as url:
        load_sample(SAMPLE, url, "public")
        with installation_on(url):
            pass  # makes our tables
        yield url


@pytest.fixture
def sample_url(server_url: URL, sample_template: URL) -> Iterator[URL]:
    """A copy of the sample's database of one's own."""
    with new_database(server_url, sample_template) as url:
        yield url


@pytest.fixture(scope="session")
def computed_template(server_url: URL, sample_template: URL) -> Iterator[URL]:
    """The sample with the snapshots of its last `COMPUTED` days; never changed, only copied."""
    with new_database(server_url, sample_template) as url:
        with installation_on(url) as installation:
            run_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        yield url


@pytest.fixture
def computed(server_url: URL, computed_template: URL) -> Iterator[Installation]:
    """An open installation on a copy of one's own, in which the last days are computed."""
    with new_database(server_url, computed_template) as url, installation_on(url) as opened:
        yield opened


@pytest.fixture
def installation(sample_url: URL) -> Iterator[Installation]:
    """An open installation on a copy of one's own."""
    with installation_on(sample_url) as opened:
        yield opened
