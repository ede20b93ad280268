"""A Redis that is away for a moment costs no run."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import redis

from snapshot_pipeline.orchestration.instance.celery_app import QUEUE, worker_app
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.integration.celery.deployment import PASSWORD, free_port, start_redis


def test_launch_waits_for_a_redis_restart_and_the_queue_is_kept(tmp_path: Path):
    """Otherwise a restart of Redis fails every run that is launched meanwhile, and with it a whole backfill."""
    port = free_port()
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    app = worker_app(load_settings(celery_broker_url=url, database_url="postgresql://role@db.example.org/learning"))
    away_seconds = 4.0  # more than a connection is tried for by default, and more tries than are made by default

    def launch() -> float:
        began = time.monotonic()
        app.signature("execute_job", kwargs={"execute_job_args_packed": "a run"}, immutable=True).apply_async()
        return time.monotonic() - began

    with ExitStack() as stack:
        server = start_redis(stack, tmp_path, port)
        launch()
        server.terminate()
        server.wait(10)
        again = threading.Timer(away_seconds, start_redis, (stack, tmp_path, port))
        again.start()
        assert launch() > away_seconds - 1
        again.join(20)
        with redis.Redis(port=port, password=PASSWORD) as client:
            assert sum(client.llen(queue) for queue in client.scan_iter(f"{QUEUE}*", _type="list")) == 2
