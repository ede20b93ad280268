"""Channels of real Apprise URLs against real receivers: what arrives, what is cut, and that no secret is ever shown."""

from __future__ import annotations

import logging
import time

import pytest
from apprise import Apprise

from snapshot_pipeline.alerts.channels import CUT, fitted, read_channels
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.alerts.looks import channels_of
from snapshot_pipeline_tests.receivers import WebReceiver, closed_address, mail_receiver, silent_receiver

SECRET = "hunter2-very-secret"  # noqa: S105  # the mark that is searched for


def test_a_webhook_gets_title_text_and_severity(receiver: WebReceiver):
    (channel,) = channels_of(f"json://{receiver.address}/hook")
    assert channel.send("Title", "First line\nsecond & <third>", "failure") is None
    (message,) = receiver.messages
    assert (message["title"], message["type"]) == ("Title", "failure")
    assert message["message"] == "First line\nsecond & <third>"


def test_a_mail_arrives_with_its_lines_and_its_signs():
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


def test_a_channel_that_refuses_says_so_without_a_secret(receiver: WebReceiver):
    receiver.status = 403
    (channel,) = channels_of(f"json://user:{SECRET}@{receiver.address}/{SECRET}/hook?+X-Token={SECRET}")
    error = channel.send("Title", "Text", "failure")
    assert error is not None
    assert "403" in error or "Forbidden" in error or "Unauthorized" in error or "Failed" in error
    assert SECRET not in f"{error}{channel}{channel.name}{channel!r}"
    assert channel.name == f"json://{receiver.address}"


def test_a_channel_that_is_down_or_silent_is_an_error_within_its_time():
    with silent_receiver() as silent:
        for address in (closed_address(), silent):
            (channel,) = channels_of(f"json://{address}/?rto=0.5")
            began = time.monotonic()
            assert channel.send("Title", "Text", "failure")
            assert time.monotonic() - began < 5


def test_no_url_shows_its_secret_and_each_has_a_name_of_its_own():
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
    ("url", "said"),
    [
        (f"nosuch://{SECRET}", "nosuch://…"),
        (SECRET, "a word"),
        (f"json://host:{SECRET}/", "json://…"),
        (f"slack://{SECRET}", "slack://…"),
    ],
)
def test_an_url_that_cannot_be_read_is_one_line_without_its_secret_and_the_others_are_told(
    url: str, said: str, capfd: pytest.CaptureFixture[str]
):
    # Everything that reaches the root logger, at any level (pytest's own capture listens to Apprise directly).
    listener, root = logging.StreamHandler(), logging.getLogger()
    root.addHandler(listener)
    try:
        told = read_channels(load_settings(alert_urls=f"json://127.0.0.1:1/\n{url}"))
    finally:
        root.removeHandler(listener)
    assert [channel.name for channel in told.channels] == ["json://127.0.0.1:1"]
    (problem,) = told.problems
    assert f"SNAPSHOT_ALERT_URLS: {said}, number 2 of 2" in problem
    output = capfd.readouterr()
    assert SECRET not in f"{problem}{output.out}{output.err}"


def test_the_same_url_twice_is_one_channel():
    assert len(channels_of("json://127.0.0.1:1/", "json://127.0.0.1:1/")) == 1


@pytest.mark.parametrize(
    "url",
    ["json://127.0.0.1/", "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "tgram://123456789:abcdefg_hij/1/"],
)
def test_a_text_is_cut_to_what_the_channel_takes_and_says_that_it_was(url: str):
    service = Apprise.instantiate(url)
    title, body = fitted("T" * 300, "line\n" * 20_000, service)
    room = service.body_maxlen
    assert len(body) + (len(title) if service.title_maxlen <= 0 or service.overflow_amalgamate_title else 0) <= room
    assert service.title_maxlen <= 0 or len(title) <= service.title_maxlen
    assert body.endswith(CUT)
    assert len(body) > 0.8 * (room - 300)
    assert fitted("Title", "short", service) == ("Title", "short")


def test_a_text_that_is_too_long_arrives_cut_as_one_message(receiver: WebReceiver):
    (channel,) = channels_of(f"json://{receiver.address}/")
    assert channel.send("T" * 1000, "x" * 100_000, "failure") is None
    (message,) = receiver.messages
    assert message["message"].endswith(CUT)
    assert len(message["message"]) <= 32768
    assert len(message["title"]) <= 250
