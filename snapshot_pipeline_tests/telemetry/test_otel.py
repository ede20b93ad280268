"""Numbers sent to an OTLP receiver: what arrives is decoded by OpenTelemetry's own protocol classes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from snapshot_pipeline.telemetry import otel
from snapshot_pipeline.telemetry.otel import Numbers, OtelError, send_numbers
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, silent_receiver, web_receiver

DAY = Numbers({"asset": "performance_snapshots", "day": "2026-03-08"}, {"published": (190, "{student}")})
NEXT_DAY = Numbers({"asset": "performance_snapshots", "day": "2026-03-09"}, {"published": (191, "{student}")})

Points = dict[str, dict[tuple[tuple[str, str], ...], float]]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebReceiver]:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", raising=False)
    with web_receiver() as started:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{started.address}")
        yield started


def points_of(receiver: WebReceiver) -> Points:
    """All values that have arrived, by name and attributes."""
    found: Points = {}
    for body in receiver.bodies:
        request = ExportMetricsServiceRequest.FromString(body)
        for metric in (m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics):
            for point in metric.gauge.data_points:
                attributes = tuple(sorted((one.key, one.value.string_value) for one in point.attributes))
                value = point.as_double if point.HasField("as_double") else point.as_int
                found.setdefault(metric.name, {})[attributes] = value
    return found


def test_the_numbers_of_each_day_arrive_with_its_attributes(receiver: WebReceiver):
    send_numbers([DAY, NEXT_DAY])
    assert receiver.paths == ["/v1/metrics"]
    assert points_of(receiver)["snapshot_pipeline.published"] == {
        (("asset", "performance_snapshots"), ("day", "2026-03-08")): 190,
        (("asset", "performance_snapshots"), ("day", "2026-03-09")): 191,
    }


def test_an_endpoint_for_metrics_only_serves_as_well(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://{receiver.address}/otlp/metrics")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    send_numbers([DAY])
    assert receiver.paths == ["/otlp/metrics"]


def test_without_an_endpoint_nothing_is_sent(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    send_numbers([DAY])
    assert receiver.bodies == []


def test_a_receiver_that_refuses_is_down_or_never_answers_is_one_line_within_its_time(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(otel, "FLUSH_SECONDS", 1.0)
    receiver.status = 400
    with silent_receiver() as silent:
        for address in (receiver.address, closed_address(), silent):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
            began = time.monotonic()
            with pytest.raises(OtelError, match=r"^[^\n]*OTEL_EXPORTER_OTLP_ENDPOINT[^\n]*$"):
                send_numbers([DAY])
            assert time.monotonic() - began < 4


def test_an_endpoint_without_the_package_is_one_readable_line(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(OtelError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set but OpenTelemetry is not.*\[otel\]"):
        send_numbers([DAY])
