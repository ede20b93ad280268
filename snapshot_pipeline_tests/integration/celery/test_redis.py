"""A short outage of Redis fails no run."""

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
    """Without waiting, a restart of Redis would fail every run launched meanwhile, and with it a whole backfill."""
    port = free_port()
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    app = worker_app(load_settings(celery_broker_url=url, database_url="postgresql://role@db.example.org/learning"))
    outage_seconds = 4.0  # longer than the default connection timeout and the default number of retries allow

    def launch() -> float:
        started = time.monotonic()
        app.signature("execute_job", kwargs={"execute_job_args_packed": "a run"}, immutable=True).apply_async()
        return time.monotonic() - started

    with ExitStack() as stack:
        server = start_redis(stack, tmp_path, port)
        launch()
        server.terminate()
        server.wait(10)
        restart = threading.Timer(outage_seconds, start_redis, (stack, tmp_path, port))
        restart.start()
        assert launch() > outage_seconds - 1
        restart.join(20)
        with redis.Redis(port=port, password=PASSWORD) as client:
            assert sum(client.llen(queue) for queue in client.scan_iter(f"{QUEUE}*", _type="list")) == 2
