"""The numbers of a run by OpenTelemetry (OTLP over HTTP), when OTEL_EXPORTER_OTLP_ENDPOINT is set.

Put here: what a number is called and how it is sent. Do not put here: where the numbers come from (`pipeline`).

Datadog, Grafana and Prometheus take them; the endpoint, headers and certificates are those of OpenTelemetry's own
variables. They are sent once, at the end of a run, by a thread that the run waits for `FLUSH_SECONDS` at the most.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snapshot_pipeline.errors import SnapshotPipelineError

FLUSH_SECONDS = 5.0
"""How long the end of a run may wait for the receiver."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PREFIX = "snapshot_pipeline"


class OtelError(SnapshotPipelineError):
    """The numbers of a run cannot be sent."""


@dataclass(frozen=True)
class Numbers:
    """What is measured of one day or week of a run.

    Attributes:
        attributes: What it is about: the asset, the day or the week. No student.
        values: By name, each with its unit in UCUM, e.g. `{"published": (190, "{student}")}`.
    """

    attributes: Mapping[str, str]
    values: Mapping[str, tuple[float, str]]


def is_on() -> bool:
    """Whether an endpoint is set."""
    return any(os.environ.get(name) for name in _ENDPOINTS)


def send_numbers(numbers: Sequence[Numbers]) -> None:
    """Send the numbers of a run; does nothing when no endpoint is set.

    Raises:
        OtelError: The extra is not installed, the receiver did not take them, or did not answer in time.
    """
    if not is_on():
        return
    failures: list[str] = []
    thread = threading.Thread(target=_send, args=(numbers, failures), daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
    if thread.is_alive():
        raise OtelError(f"the numbers of the run were not taken within {FLUSH_SECONDS:g} s; see {_variable()}")
    if failures:
        raise OtelError(failures[0])


def _send(numbers: Sequence[Numbers], failures: list[str]) -> None:
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
        from opentelemetry.sdk.resources import Resource
    except ImportError:
        failures.append(
            f"{_variable()} is set but OpenTelemetry is not installed, so numbers are not sent; install it by "
            "pip install 'snapshot_pipeline[otel]'"
        )
        return
    try:
        # Read once and exported once: a periodic reader would keep a thread, and swallow a failed export.
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], Resource.create({"service.name": _PREFIX}), shutdown_on_exit=False)
        meter = provider.get_meter(_PREFIX)
        for one in numbers:
            for name, (value, unit) in one.values.items():
                meter.create_gauge(f"{_PREFIX}.{name}", unit).set(value, dict(one.attributes))
        exporter = OTLPMetricExporter(timeout=FLUSH_SECONDS)
        result = exporter.export(reader.get_metrics_data(), timeout_millis=FLUSH_SECONDS * 1000)  # type: ignore[arg-type]
        if result is not MetricExportResult.SUCCESS:
            failures.append(f"the receiver of {_variable()} did not take the numbers of the run")
    except Exception as error:  # noqa: BLE001  # whatever it is, the run's work is done; the caller logs one line
        failures.append(f"the numbers of the run could not be sent: {type(error).__name__}")


def _variable() -> str:
    return next((name for name in _ENDPOINTS if os.environ.get(name)), _ENDPOINTS[-1])
