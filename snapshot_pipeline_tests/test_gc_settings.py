"""The garbage collector runs less often in our processes and Dagster's, and still frees reference cycles."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from snapshot_pipeline.gc_settings import THRESHOLD, collect_less_often


class Cycle:
    """Refers to itself: only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def restored_gc() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


@pytest.mark.usefixtures("restored_gc")
def test_a_reference_cycle_is_still_freed():
    collect_less_often()
    first = weakref.ref(Cycle())
    cycles = [Cycle() for _ in range(THRESHOLD // 10)]
    assert first() is not None, "it was freed before the threshold"
    del cycles
    for _ in range(11):
        [Cycle() for _ in range(THRESHOLD // 10)]
    assert first() is None


def test_importing_our_storage_makes_dagster_collect_less_often():
    code = (
        "import dagster, snapshot_pipeline.orchestration.instance.storage, gc; "
        "print(gc.get_threshold()[0], gc.get_freeze_count() > 10_000)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert finished.stdout.split() == [str(THRESHOLD), "True"]
