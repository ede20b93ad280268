"""Fixtures: a real database for the incidents, a real web server for the messages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snapshot_pipeline_tests.receivers import WebReceiver, web_receiver
from snapshot_pipeline_tests.store.conftest import migrated_url, store

__all__ = ["migrated_url", "store"]


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    """A web server that records what it receives."""
    with web_receiver() as started:
        yield started
