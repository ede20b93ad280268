"""The weekly report in the outbox: the page is stored with it, arrives once, and is then deleted."""

from __future__ import annotations

from base64 import b64decode
from datetime import date, timedelta

from sqlalchemy import func, select

from snapshot_pipeline.alerts.report_messages import GIVE_UP_AFTER, queue_report, report_message
from snapshot_pipeline.store.outbox import Attachment
from snapshot_pipeline_tests.alerts.scans import DAY, MINUTE, NOW, channels_of, outbox, send
from snapshot_pipeline_tests.receivers import WebReceiver, mail_receiver
from snapshot_pipeline_tests.store.conftest import Store

MONDAY = date(2026, 3, 2)
PAGE = Attachment("2026-03-02.html", "<!doctype html><p>Größe".encode())
MESSAGE = report_message(
    "Week of 2 Mar 2026 to 8 Mar 2026", "14-day inactivity rose.", ["At risk: 127 (+12, worse)"], None
)


def queue(store: Store, *urls: str, week: date = MONDAY) -> int:
    """Queue the report of a week for the channels of some URLs."""
    ids = [channel.id for channel in channels_of(*urls)]
    with store.engine.begin() as connection:
        return queue_report(connection, store.tables, ids, week, MESSAGE, PAGE, NOW)


def stored_pages(store: Store) -> int:
    """Return the number of attachments in the outbox."""
    with store.engine.connect() as connection:
        return connection.execute(select(func.count(store.tables.alert_messages.c.attachment))).scalar_one()


def test_a_report_arrives_once_with_its_page_which_is_then_deleted(store: Store, receiver: WebReceiver):
    url = f"json://{receiver.address}/"
    assert queue(store, url) == 1
    assert stored_pages(store) == 1
    assert send(store, channels_of(url), NOW)[0].sent == 1
    assert queue(store, url) == 0  # the same week written again
    send(store, channels_of(url), NOW + MINUTE)
    (message,) = receiver.messages
    assert message["title"] == "Week of 2 Mar 2026 to 8 Mar 2026"
    assert message["message"].splitlines()[:3] == ["14-day inactivity rose.", "", "- At risk: 127 (+12, worse)"]
    (attachment,) = message["attachments"]
    assert (attachment["filename"], attachment["mimetype"]) == (PAGE.name, "text/html")
    assert b64decode(attachment["base64"]) == PAGE.content
    assert stored_pages(store) == 0
    assert queue(store, url, week=MONDAY + timedelta(weeks=1)) == 1


def test_a_mail_has_the_page_as_an_attachment(store: Store):
    with mail_receiver() as mails:
        url = f"mailto://{mails.address}?from=pipeline@example.org&to=head@example.org&mode=insecure"
        queue(store, url)
        assert send(store, channels_of(url), NOW)[0].sent == 1
        (mail,) = mails.mails
    (attachment,) = mail.iter_attachments()
    assert attachment.get_filename() == PAGE.name
    assert attachment.get_payload(decode=True) == PAGE.content


def test_an_unsent_report_is_given_up_after_a_week(store: Store, receiver: WebReceiver):
    receiver.status = 503
    url = f"json://{receiver.address}/"
    queue(store, url)
    send(store, channels_of(url), NOW)
    assert outbox(store)[0][3]  # the error
    assert stored_pages(store) == 1
    receiver.status = 200
    assert send(store, channels_of(url), NOW + GIVE_UP_AFTER)[0].sent == 0
    assert send(store, channels_of(url), NOW + GIVE_UP_AFTER - DAY)[0].sent == 1
