"""Open installations on copies of the sample platform."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline_tests.pipeline.installations import installation_on, new_database


@pytest.fixture
def computed(server_url: URL, computed_template: URL) -> Iterator[Installation]:
    """An open installation with the snapshots of the days `COMPUTED`, for one test."""
    with new_database(server_url, computed_template) as url, installation_on(url) as opened:
        yield opened


@pytest.fixture
def failed(server_url: URL, failed_template: URL) -> Iterator[Installation]:
    """The same, except that six students have a failure on each of the days, for one test."""
    with new_database(server_url, failed_template) as url, installation_on(url) as opened:
        yield opened


@pytest.fixture
def installation(sample_url: URL) -> Iterator[Installation]:
    """An open installation without snapshots, for one test."""
    with installation_on(sample_url) as opened:
        yield opened
