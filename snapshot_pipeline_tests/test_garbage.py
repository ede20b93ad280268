"""Processes of ours and of Dagster collect rarely, and collect all the same."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from snapshot_pipeline.garbage import OBJECTS, collect_rarely

ASKED = "import gc; print(gc.get_threshold()[0], gc.get_freeze_count() > 10_000)"


class InACircle:
    """Refers to itself: only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("as_before")
def test_what_refers_to_itself_is_still_freed():
    collect_rarely()
    first = weakref.ref(InACircle())
    circles = [InACircle() for _ in range(OBJECTS // 10)]
    assert first() is not None, "nothing was left to the collector"
    del circles
    for _ in range(11):
        [InACircle() for _ in range(OBJECTS // 10)]
    assert first() is None


def test_a_process_of_dagster_collects_rarely_from_its_first_look_at_our_storage_on():
    asked = f"import dagster, snapshot_pipeline.orchestration.instance.storage; {ASKED}"
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, text=True)
    assert answer.stdout.split() == [str(OBJECTS), "True"]
