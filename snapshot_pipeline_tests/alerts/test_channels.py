"""Channels of real Apprise URLs and real receivers: what arrives, what is truncated, and that no secret is shown."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from apprise import Apprise

from snapshot_pipeline.alerts.channels import READ_SECONDS, TRUNCATION_NOTE, read_channels, truncate
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.alerts.scans import channels_of
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, mail_receiver, silent_receiver

SECRET = "hunter2-very-secret"  # noqa: S105  # searched for in all output


def test_a_webhook_receives_title_text_and_severity(receiver: WebReceiver):
    (channel,) = channels_of(f"json://{receiver.address}/hook")
    assert channel.send("Title", "First line\nsecond & <third>", "failure") is None
    (message,) = receiver.messages
    assert (message["title"], message["type"]) == ("Title", "failure")
    assert message["message"] == "First line\nsecond & <third>"


def test_an_email_keeps_line_breaks_and_special_characters():
    with mail_receiver() as mails:
        (channel,) = channels_of(
            f"mailto://{mails.address}?from=pipeline@example.org&to=oncall@example.org&mode=insecure"
        )
        assert channel.send("Title of a mail", "First line\nat least 90% & <more>", "warning") is None
        (mail,) = mails.mails
    assert mail["subject"] == "Title of a mail"
    assert "oncall@example.org" in mail["to"]
    text = mail.get_body(("html", "plain"))
    assert text is not None
    content = text.get_content()
    assert "First line" in content
    assert "<more>" not in content or text.get_content_type() == "text/plain"


def test_the_error_of_a_refusing_channel_has_no_secret(receiver: WebReceiver):
    receiver.status = 403
    (channel,) = channels_of(f"json://user:{SECRET}@{receiver.address}/{SECRET}/hook?+X-Token={SECRET}")
    error = channel.send("Title", "Text", "failure")
    assert error is not None
    assert "403" in error or "Forbidden" in error or "Unauthorized" in error or "Failed" in error
    assert SECRET not in f"{error}{channel}{channel.name}{channel!r}"
    assert channel.name == f"json://{receiver.address}"


def test_a_channel_that_is_down_or_silent_fails_within_its_timeout():
    with silent_receiver() as silent:
        for address in (closed_address(), silent):
            (channel,) = channels_of(f"json://{address}/?rto=0.5")
            began = time.monotonic()
            assert channel.send("Title", "Text", "failure")
            assert time.monotonic() - began < READ_SECONDS


def test_channel_names_are_unique_and_have_no_secret():
    urls = (
        f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?footer={SECRET}",
        f"discord://4174216298/{SECRET}",
        f"mailto://user:{SECRET}@mail.example.org?to=a@example.org&from=b@example.org",
        f"json://hooks.example.org/{SECRET}",
        f"json://hooks.example.org/{SECRET}/other",
    )
    channels = channels_of(*urls)
    names = [channel.name for channel in channels]
    assert len(set(names)) == len({channel.id for channel in channels}) == 5
    assert names[2:] == ["mailto://mail.example.org", "json://hooks.example.org", "json://hooks.example.org (2)"]
    for secret in (SECRET, "TIiajkdnlazkcOXrIdevi7FQ", "A1BRTD4JD", "4174216298"):
        assert secret not in f"{names}{channels!r}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"nosuch://{SECRET}", "nosuch://…"),
        (SECRET, "a word"),
        (f"json://host:{SECRET}/", "json://…"),
        (f"slack://{SECRET}", "slack://…"),
    ],
)
def test_an_invalid_url_is_one_line_without_its_secret(url: str, shown: str, capfd: pytest.CaptureFixture[str]):
    # Captures what reaches the root logger at any level (pytest's own capture listens to Apprise directly).
    listener, root = logging.StreamHandler(), logging.getLogger()
    root.addHandler(listener)
    try:
        channel_list = read_channels(load_settings(alert_urls=f"json://127.0.0.1:1/\n{url}"))
    finally:
        root.removeHandler(listener)
    assert [channel.name for channel in channel_list.channels] == ["json://127.0.0.1:1"]
    (problem,) = channel_list.problems
    assert f"SNAPSHOT_ALERT_URLS: {shown}, number 2 of 2" in problem
    output = capfd.readouterr()
    assert SECRET not in f"{problem}{output.out}{output.err}"


def test_the_same_url_twice_is_one_channel():
    assert len(channels_of("json://127.0.0.1:1/", "json://127.0.0.1:1/")) == 1


@pytest.mark.parametrize(
    "url",
    ["json://127.0.0.1/", "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "tgram://123456789:abcdefg_hij/1/"],
)
def test_a_long_text_is_truncated_to_the_channels_limit_with_a_note(url: str):
    service = Apprise.instantiate(url)
    title, body = truncate("T" * 300, "line\n" * 20_000, service)
    limit = service.body_maxlen
    assert len(body) + (len(title) if service.title_maxlen <= 0 or service.overflow_amalgamate_title else 0) <= limit
    assert service.title_maxlen <= 0 or len(title) <= service.title_maxlen
    assert body.endswith(TRUNCATION_NOTE)
    assert len(body) > 0.8 * (limit - 300)
    assert truncate("Title", "short", service) == ("Title", "short")


def test_a_long_text_arrives_truncated_as_one_message(receiver: WebReceiver):
    (channel,) = channels_of(f"json://{receiver.address}/")
    assert channel.send("T" * 1000, "x" * 100_000, "failure") is None
    (message,) = receiver.messages
    assert message["message"].endswith(TRUNCATION_NOTE)
    assert len(message["message"]) <= 32768
    assert len(message["title"]) <= 250


def test_a_file_gets_each_message_with_its_time(tmp_path: Path):
    file = tmp_path / "all alerts.txt"
    (channel,) = channels_of(f"file://{quote(str(file))}")
    assert channel.name == f"file://{quote(str(file))}"
    for title in ("First", "Second"):
        assert channel.send(title, "What it is\n\nWhat to do", "failure") is None
    message = r"\d{4}-\d\d-\d\d \d\d:\d\d \w+  (First|Second)\n    What it is\n\n    What to do\n\n"
    assert re.fullmatch(f"({message}){{2}}", file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("url", ["file://host/alerts.txt", "file://", "file:///"])
def test_a_file_channel_needs_an_absolute_path(url: str):
    channel_list = read_channels(load_settings(alert_urls=url))
    assert (len(channel_list.channels), len(channel_list.problems)) == (0, 1)


def test_a_file_that_cannot_be_written_is_a_failed_attempt(tmp_path: Path):
    (channel,) = channels_of(f"file://{tmp_path}/missing/alerts.txt")
    assert "No such file or directory" in str(channel.send("Title", "Text", "failure"))
