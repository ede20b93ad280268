"""The same batches on a cluster: the same rows to the bit, readable names, and nothing secret where others look."""

from __future__ import annotations

import logging
import re

import pytest
import requests
from sqlalchemy import URL

from snapshot_pipeline.pipeline.batches import Progress
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.integration.dask.clusters import Cluster
from snapshot_pipeline_tests.integration.dask.runs import (
    BATCHES,
    FIRST,
    busy_worker,
    held_in_work,
    left_by,
    on_cluster,
    running,
    small_batches,
)
from snapshot_pipeline_tests.pipeline.installations import MONDAY, SUNDAY, Tables, differences

__all__ = ["small_batches"]

pytestmark = pytest.mark.usefixtures("small_batches")


def test_cluster_gives_exactly_the_rows_of_one_process(
    url: URL, shared_cluster: Cluster, expected: Tables, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "snapshot_pipeline")
    seen: list[Progress] = []
    with on_cluster(url, shared_cluster.address) as installation:
        run = run_days(installation, FIRST, SUNDAY, "on dask", seen.append)
        week = run_week(installation, MONDAY, "on dask", seen.append)
        assert differences(left_by(installation), expected) == []
    assert [(step.done, step.total) for step in seen] == [(n, BATCHES) for n in range(BATCHES + 1)] * 2
    assert sum(day.restated for day in run.reports) == expected["snapshot_restatements"].num_rows
    assert week.recipients > 200
    assert "the Dask cluster tcp://127.0.0.1" in caplog.text


def test_dashboard_names_batches_and_shows_no_password(
    url: URL, shared_cluster: Cluster, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    dashboard = f"http://127.0.0.1:{shared_cluster.dashboard_port}"
    with held_in_work(url, "exercise_submissions", 3) as arrived:
        ours = running(url, shared_cluster.address)
        future = ours.__enter__()
        arrived()
        busy_worker(shared_cluster, "one", "two")
        pages = {path: requests.get(dashboard + path, timeout=20) for path in ("/status", "/info/main/workers.html")}
        (one, *_) = re.findall(r'href="(?:\.\./)?(worker/[^"]+\.html)"', pages["/info/main/workers.html"].text)
        pages["worker"] = requests.get(f"{dashboard}/info/{one}", timeout=20)
    ours.__exit__(None, None, None)
    assert future.result().reports
    assert [page.status_code for page in pages.values()] == [200, 200, 200]
    assert re.search(r"snapshots 2025-11-01…2025-11-02, students [0-9]+\u2013[0-9]+", pages["worker"].text)
    assert url.password
    said = "".join(page.text for page in pages.values()) + shared_cluster.logs() + caplog.text
    assert url.password not in said
