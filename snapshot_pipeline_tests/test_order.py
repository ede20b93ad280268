"""The table of slow files names files that exist, and the marker `system` reaches the tests that need it."""

from __future__ import annotations

import pytest

from snapshot_pipeline_tests.order import SLOWEST_FILES, SYSTEM_DIRECTORIES, TESTS


def test_every_slow_file_exists_and_is_named_once():
    assert [name for name in SLOWEST_FILES if not (TESTS / name).is_file()] == []
    assert len(set(SLOWEST_FILES)) == len(SLOWEST_FILES)


def test_every_system_directory_exists():
    assert [name for name in SYSTEM_DIRECTORIES if not (TESTS / name).is_dir()] == []


def test_this_test_is_not_a_system_test(request: pytest.FixtureRequest):
    assert request.node.get_closest_marker("system") is None
