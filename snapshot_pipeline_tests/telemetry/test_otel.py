"""Metrics sent to an OTLP receiver and decoded by OpenTelemetry's own protocol classes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from snapshot_pipeline.telemetry import otel
from snapshot_pipeline.telemetry.otel import Metrics, OtelError, send_metrics
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, silent_receiver, web_receiver

DAY = Metrics({"asset": "performance_snapshots", "day": "2026-03-08"}, {"published": (190, "{student}")})
NEXT_DAY = Metrics({"asset": "performance_snapshots", "day": "2026-03-09"}, {"published": (191, "{student}")})

Points = dict[str, dict[tuple[tuple[str, str], ...], float]]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebReceiver]:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", raising=False)
    with web_receiver() as started:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{started.address}")
        yield started


def points_of(receiver: WebReceiver) -> Points:
    """Return all values received, by name and attributes."""
    points: Points = {}
    for body in receiver.bodies:
        request = ExportMetricsServiceRequest.FromString(body)
        for metric in (m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics):
            for point in metric.gauge.data_points:
                attributes = tuple(sorted((item.key, item.value.string_value) for item in point.attributes))
                value = point.as_double if point.HasField("as_double") else point.as_int
                points.setdefault(metric.name, {})[attributes] = value
    return points


def test_the_metrics_of_each_day_arrive_with_its_attributes(receiver: WebReceiver):
    send_metrics([DAY, NEXT_DAY])
    assert receiver.paths == ["/v1/metrics"]
    assert points_of(receiver)["snapshot_pipeline.published"] == {
        (("asset", "performance_snapshots"), ("day", "2026-03-08")): 190,
        (("asset", "performance_snapshots"), ("day", "2026-03-09")): 191,
    }


def test_an_endpoint_for_metrics_only_is_used(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://{receiver.address}/otlp/metrics")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    send_metrics([DAY])
    assert receiver.paths == ["/otlp/metrics"]


def test_without_an_endpoint_nothing_is_sent(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    send_metrics([DAY])
    assert receiver.bodies == []


def test_a_receiver_that_refuses_or_never_answers_gives_one_line_in_time(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(otel, "FLUSH_SECONDS", 1.0)
    receiver.status = 400
    with silent_receiver() as silent:
        for address in (receiver.address, closed_address(), silent):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
            began = time.monotonic()
            with pytest.raises(OtelError, match=r"^[^\n]*OTEL_EXPORTER_OTLP_ENDPOINT[^\n]*$"):
                send_metrics([DAY])
            assert time.monotonic() - began < 4


def test_an_endpoint_without_the_package_gives_one_line(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(OtelError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set but OpenTelemetry is not.*\[otel\]"):
        send_metrics([DAY])
