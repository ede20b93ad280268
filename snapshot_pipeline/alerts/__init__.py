"""Alerts: one message when an incident opens, one a day while it stays open, one when it is resolved.

    observations ──▶ incidents and their messages ──▶ channels
    (orchestration)  (one transaction, `record_scan`) (one transaction per message, `deliver`)

Put here: what an incident is, message texts, channels and delivery. Dagster belongs to `orchestration.incident_scan`,
SQL to `store.incidents` and `store.outbox`, metrics and error reports to `telemetry`.
"""
