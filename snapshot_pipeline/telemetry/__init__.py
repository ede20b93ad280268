"""What is sent of a run to an operator's own tools: errors to Sentry, metrics by OpenTelemetry.

One module per protocol; each does nothing unless its endpoint is set, never fails a run, and delays it by a few seconds
at most. Neither sends a student's id, name or row. Messages to people belong to `alerts`, the calls from Dagster to
`orchestration.steps`.
"""
