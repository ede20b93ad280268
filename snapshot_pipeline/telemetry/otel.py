"""Metrics of a run, sent by OpenTelemetry (OTLP over HTTP) if OTEL_EXPORTER_OTLP_ENDPOINT is set.

Datadog, Grafana and Prometheus accept them; OpenTelemetry's own variables set the endpoint, headers and certificates.
They are sent once, at the end of a run, by a thread that the run waits for at most `FLUSH_SECONDS`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snapshot_pipeline.errors import SnapshotPipelineError

FLUSH_SECONDS = 5.0
"""Maximum time that the end of a run waits for the receiver."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PREFIX = "snapshot_pipeline"


class OtelError(SnapshotPipelineError):
    """The metrics of a run cannot be sent."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of one day or week of a run.

    Attributes:
        attributes: The asset, the day or the week; never a student.
        values: Value and unit (UCUM) by name, e.g. `{"published": (190, "{student}")}`.
    """

    attributes: Mapping[str, str]
    values: Mapping[str, tuple[float, str]]


def send_metrics(metrics: Sequence[Metrics]) -> None:
    """Send the metrics of a run; do nothing if no endpoint is set.

    Raises:
        OtelError: The extra is not installed, or the receiver refused the metrics or did not answer in time.
    """
    variable = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    if variable is None:
        return
    failures: list[str] = []
    thread = threading.Thread(target=_send, args=(metrics, variable, failures), daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
    if thread.is_alive():
        raise OtelError(f"the receiver did not accept the run's metrics within {FLUSH_SECONDS:g} s; check {variable}")
    if failures:
        raise OtelError(failures[0])


def _send(metrics: Sequence[Metrics], variable: str, failures: list[str]) -> None:
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
        from opentelemetry.sdk.resources import Resource
    except ImportError:
        failures.append(
            f"{variable} is set but OpenTelemetry is not installed, so metrics are not sent; install it with "
            "pip install 'snapshot_pipeline[otel]'"
        )
        return
    try:
        # Read and exported once: a periodic reader would keep a thread, and hide a failed export.
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], Resource.create({"service.name": _PREFIX}), shutdown_on_exit=False)
        meter = provider.get_meter(_PREFIX)
        for group in metrics:
            for name, (value, unit) in group.values.items():
                meter.create_gauge(f"{_PREFIX}.{name}", unit).set(value, dict(group.attributes))
        exporter = OTLPMetricExporter(timeout=FLUSH_SECONDS)
        result = exporter.export(reader.get_metrics_data(), timeout_millis=FLUSH_SECONDS * 1000)  # type: ignore[arg-type]
        if result is not MetricExportResult.SUCCESS:
            failures.append(f"the receiver of {variable} refused the run's metrics")
    except Exception as error:  # noqa: BLE001  # the run itself is done; the caller logs one line
        failures.append(f"the run's metrics could not be sent: {type(error).__name__}")
