"""`incident_scan_sensor` and `alert_delivery_sensor` in Dagster: from a failed run to its messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import dagster as dg
import pytest
from pydantic import SecretStr

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.orchestration.sensors import (
    ScanCursor,
    build_alert_delivery_sensor,
    build_incident_scan_sensor,
)
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline.store.incidents import Incident, open_incidents
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import Scanner, scanning
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, web_receiver

NOW = datetime(2026, 3, 10, tzinfo=timezone.utc)


@pytest.fixture
def scanner(installation: TestInstallation) -> Iterator[Scanner]:
    with scanning(installation) as scanner:
        yield scanner


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as started:
        yield started


def tick(scanner: Scanner, sensor: dg.SensorDefinition, cursor: str | None = None) -> tuple[str, str | None]:
    """The skip message of a tick, and its new cursor."""
    repository = build_defs(scanner.settings).get_repository_def()
    instance = scanner.installation.instance
    with dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository) as context:
        data = sensor.evaluate_tick(context)
        return str(data.skip_message), data.cursor


def kinds_of_open(scanner: Scanner) -> list[str]:
    with open_installation(scanner.settings) as opened, opened.engine.connect() as connection:
        return [incident.kind for incident in open_incidents(connection, opened.store)]


def test_a_failed_run_is_sent_and_later_cleared(scanner: Scanner, receiver: WebReceiver) -> None:
    urls = SecretStr(f"json://{receiver.address}/")
    scanner.settings = scanner.settings.model_copy(update={"alert_urls": urls})
    scan, send = build_incident_scan_sensor(scanner.settings), build_alert_delivery_sensor(scanner.settings)
    message, cursor = tick(scanner, scan)
    assert message == "no incident has begun or ended"
    scanner.run(range_tags(date(2026, 2, 10), date(2026, 2, 10)), platform_schema="nowhere")
    message, later = tick(scanner, scan, cursor)
    assert message == "1 incident begun, 0 ended"
    # A daemon that was killed before it could store the cursor scans again from the old cursor.
    assert tick(scanner, scan, cursor)[0] == "no incident has begun or ended"
    assert tick(scanner, send)[0] == "1 message sent"
    assert tick(scanner, send)[0] == "no message to send"
    scanner.run(range_tags(date(2026, 2, 10), date(2026, 2, 10)))
    assert tick(scanner, scan, later)[0] == "0 incidents begun, 1 ended"
    tick(scanner, send)
    failed = "performance_snapshots, cohort_summary, 2026-02-10: the run has failed"
    assert [title.split(" (")[0] for title in receiver.titles] == [failed, f"Resolved: {failed}"]


def test_a_lost_cursor_repeats_no_message_and_misses_no_end(scanner: Scanner) -> None:
    scan = build_incident_scan_sensor(scanner.settings)
    _, cursor = tick(scanner, scan)
    scanner.run(range_tags(date(2026, 2, 10), date(2026, 2, 10)), platform_schema="nowhere")
    tick(scanner, scan, cursor)
    assert tick(scanner, scan)[0] == "no incident has begun or ended"
    assert kinds_of_open(scanner) == ["failed_run"]
    scanner.run(range_tags(date(2026, 2, 10), date(2026, 2, 10)))
    assert tick(scanner, scan)[0] == "0 incidents begun, 1 ended"
    assert kinds_of_open(scanner) == []


def test_without_channels_incidents_are_in_the_log_of_the_tick(
    scanner: Scanner, capfd: pytest.CaptureFixture[str]
) -> None:
    scan = build_incident_scan_sensor(scanner.settings)
    _, cursor = tick(scanner, scan)
    scanner.run(range_tags(date(2026, 2, 10), date(2026, 2, 10)), platform_schema="nowhere")
    capfd.readouterr()
    tick(scanner, scan, cursor)
    logged = capfd.readouterr()
    assert "no message is sent, because SNAPSHOT_ALERT_URLS is not set" in logged.out + logged.err
    assert "name no channel" in tick(scanner, build_alert_delivery_sensor(scanner.settings))[0]


def test_an_invalid_channel_url_does_not_block_the_other_channels(scanner: Scanner, receiver: WebReceiver) -> None:
    urls = SecretStr(f"nosuch://hunter2 json://{receiver.address}/")
    scanner.settings = scanner.settings.model_copy(update={"alert_urls": urls})
    scan, send = build_incident_scan_sensor(scanner.settings), build_alert_delivery_sensor(scanner.settings)
    _, cursor = tick(scanner, scan)
    scanner.run(range_tags(date(2026, 2, 10), date(2026, 2, 10)), platform_schema="nowhere")
    tick(scanner, scan, cursor)
    assert tick(scanner, send)[0] == "1 message sent"


def test_sensors_run_from_the_first_start_unless_switched_off() -> None:
    for schedules, status in ((True, dg.DefaultSensorStatus.RUNNING), (False, dg.DefaultSensorStatus.STOPPED)):
        sensors = {
            sensor.name: sensor
            for sensor in build_defs(load_settings(schedules=schedules)).get_repository_def().sensor_defs
        }
        assert {"incident_scan_sensor", "alert_delivery_sensor"} <= sensors.keys()
        for name in ("incident_scan_sensor", "alert_delivery_sensor"):
            assert sensors[name].default_status is status
            assert len(sensors[name].description or "") > 50
            assert sensors[name].minimum_interval_seconds == 30


def test_a_new_cursor_starts_now_and_a_lost_cursor_reaches_back() -> None:
    new = ScanCursor.initial(NOW, [], None)
    assert (new.watching_since, new.last_scan) == (NOW, NOW)
    assert ScanCursor.deserialize(new.serialize()) == new
    long_ago = NOW - timedelta(days=30)
    incident = Incident(1, "failed_check", "s", "t", "d", None, long_ago, long_ago, None, long_ago)
    assert ScanCursor.initial(NOW, [incident], long_ago).last_scan == long_ago
    assert ScanCursor.initial(NOW, [], long_ago).last_scan == NOW - timedelta(days=7)
    yesterday = NOW - timedelta(days=1)  # an installation of yesterday reports nothing of last week
    assert ScanCursor.initial(NOW, [], yesterday).watching_since == yesterday


def test_a_database_outage_is_sent_directly_once_a_day_and_cleared(scanner: Scanner, receiver: WebReceiver) -> None:
    """Incidents and outbox are in that database: without direct messages its outage would be silent."""
    urls = SecretStr(f"json://{receiver.address}/")
    reachable = scanner.settings.model_copy(update={"alert_urls": urls})
    unreachable = reachable.model_copy(
        update={"database_url": SecretStr(f"postgresql://me:secret@{closed_address()}/platform")}
    )
    scan_up, scan_down = build_incident_scan_sensor(reachable), build_incident_scan_sensor(unreachable)
    _, cursor = tick(scanner, scan_up)
    message, cursor = tick(scanner, scan_down, cursor)
    assert "cannot connect to" in message
    assert receiver.titles == []  # one failed scan may be a restart
    _, cursor = tick(scanner, scan_down, earlier(cursor, "down_since", timedelta(minutes=3)))
    _, cursor = tick(scanner, scan_down, cursor)
    assert receiver.titles == ["snapshot_pipeline cannot scan for incidents"]
    assert "cannot connect to" in receiver.messages[0]["message"]
    assert "secret" not in receiver.messages[0]["message"]
    _, cursor = tick(scanner, scan_down, earlier(cursor, "notified_at", timedelta(days=1)))
    assert len(receiver.titles) == 2
    message, cursor = tick(scanner, scan_up, cursor)
    assert message == "no incident has begun or ended"
    assert receiver.titles[2:] == ["Resolved: snapshot_pipeline scans for incidents again"]
    tick(scanner, scan_up, cursor)
    assert len(receiver.titles) == 3


def test_an_unforeseen_error_of_the_scan_is_sent_past_the_outbox(
    scanner: Scanner, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A programming error at every scan: without this message nobody would hear of any incident."""
    raised: list[str] = []

    def raises(*_: object) -> None:
        raised.append("student 4711 cannot be encoded")
        raise UnicodeEncodeError("latin-1", raised[0], 0, 1, "ordinal not in range")

    urls = SecretStr(f"json://{receiver.address}/")
    scan = build_incident_scan_sensor(scanner.settings.model_copy(update={"alert_urls": urls}))
    _, cursor = tick(scanner, scan)
    with monkeypatch.context() as patch:
        patch.setattr("snapshot_pipeline.orchestration.sensors.find_observations", raises)
        message, cursor = tick(scanner, scan, cursor)
        assert "UnicodeEncodeError" in message
        _, cursor = tick(scanner, scan, earlier(cursor, "down_since", timedelta(minutes=3)))
    assert len(raised) == 2
    assert receiver.titles == ["snapshot_pipeline cannot scan for incidents"]
    assert "UnicodeEncodeError" in receiver.messages[0]["message"]
    assert "4711" not in receiver.messages[0]["message"]
    assert "open incident_scan_sensor in the Dagster UI" in receiver.messages[0]["message"]
    logged = capfd.readouterr()
    assert "in raises" in logged.out + logged.err  # the stack trace is in the tick's log
    _, cursor = tick(scanner, scan, cursor)
    assert receiver.titles[1:] == ["Resolved: snapshot_pipeline scans for incidents again"]


def test_an_unreadable_cursor_counts_as_lost(scanner: Scanner) -> None:
    scan = build_incident_scan_sensor(scanner.settings)
    for cursor in ("not JSON", "[]", '{"watching_since": 5}', '{"other": "2026-02-01"}'):
        message, renewed = tick(scanner, scan, cursor)
        assert message == "no incident has begun or ended"
        assert ScanCursor.deserialize(renewed) is not None


def earlier(cursor: str | None, name: str, by: timedelta) -> str:
    """The cursor with one of its times moved back."""
    assert cursor is not None
    scan = ScanCursor.deserialize(cursor)
    assert scan is not None
    time = getattr(scan, name)
    assert time is not None
    return replace(scan, **{name: time - by}).serialize()
