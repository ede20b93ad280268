"""Errors of a Dask cluster that cannot be used; `integration/dask` tests a real cluster."""

from __future__ import annotations

import sys

import pytest

from snapshot_pipeline.pipeline.batches import open_executor
from snapshot_pipeline.pipeline.dask_cluster.cluster import (
    ClusterError,
    OpaqueBytes,
    require_same_versions,
    versions_here,
)
from snapshot_pipeline.settings import load_settings


def test_repr_of_pickled_work_shows_no_contents():
    assert "hunter2" not in repr(OpaqueBytes(b"hunter2"))


def test_version_mismatch_names_machine_package_and_both_versions():
    worker_versions = {**versions_here(), "pandas": "1.0", "python": "2.7"}
    with pytest.raises(ClusterError) as caught:
        require_same_versions("worker tcp://10.0.0.2:1", worker_versions, versions_here())
    message = str(caught.value)
    assert "the Dask worker tcp://10.0.0.2:1 has python 2.7 instead of 3." in message
    assert f", pandas 1.0 instead of {versions_here()['pandas']}; " in message
    assert "numpy" not in message
    require_same_versions("worker", versions_here(), versions_here())


def test_missing_dask_is_a_one_line_error_with_the_install_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    settings = load_settings(dask_scheduler="tcp://127.0.0.1:8786")
    with (
        pytest.raises(ClusterError, match=r"pip install 'snapshot_pipeline\[dask\]'") as caught,
        open_executor(settings),
    ):
        pytest.fail("Dask is missing")
    assert "\n" not in str(caught.value)
