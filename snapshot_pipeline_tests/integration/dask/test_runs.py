"""A run on a cluster: exactly the rows of one process, readable task names, and no password in dashboard or logs."""

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
    FIRST,
    busy_worker,
    comparable_rows,
    locked_table,
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
    steps: list[Progress] = []
    with on_cluster(url, shared_cluster.address) as installation:
        run = run_days(installation, FIRST, SUNDAY, "on dask", steps.append)
        week = run_week(installation, MONDAY, "on dask", steps.append)
        assert differences(comparable_rows(installation), expected) == []
    total = steps[0].total
    for run_steps in (steps[: total + 1], steps[total + 1 :]):
        # Four batches for each thread of the workers that have joined.
        total = run_steps[0].total
        assert total >= 4
        assert [(step.done, step.total) for step in run_steps] == [(n, total) for n in range(total + 1)]
    assert sum(day.restated for day in run.reports) == expected["snapshot_restatements"].num_rows
    assert week.recipients > 200
    assert "the Dask cluster tcp://127.0.0.1" in caplog.text


def test_dashboard_names_batches_and_shows_no_password(
    url: URL, shared_cluster: Cluster, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    dashboard = f"http://127.0.0.1:{shared_cluster.dashboard_port}"
    with locked_table(url, "exercise_submissions", 3) as wait_for_batches:
        context = running(url, shared_cluster.address)
        future = context.__enter__()
        wait_for_batches()
        busy_worker(shared_cluster, "one", "two")
        pages = {path: requests.get(dashboard + path, timeout=20) for path in ("/status", "/info/main/workers.html")}
        (worker_page, *_) = re.findall(r'href="(?:\.\./)?(worker/[^"]+\.html)"', pages["/info/main/workers.html"].text)
        pages["worker"] = requests.get(f"{dashboard}/info/{worker_page}", timeout=20)
    context.__exit__(None, None, None)
    assert future.result().reports
    assert [page.status_code for page in pages.values()] == [200, 200, 200]
    assert re.search(r"snapshots 2025-11-01…2025-11-02, students [0-9]+\u2013[0-9]+", pages["worker"].text)
    assert url.password
    shown = "".join(page.text for page in pages.values()) + shared_cluster.logs() + caplog.text
    assert url.password not in shown
