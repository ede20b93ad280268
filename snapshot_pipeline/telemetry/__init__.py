"""What an operator's own tools are told of a run: its errors (Sentry), its numbers (OpenTelemetry).

Put here: one module per kind of tool; each does nothing unless its endpoint is set, and never fails or delays a run.
Do not put here: messages to people (`alerts`), or Dagster (`orchestration.reporting` calls this).

Both are told what went on, never about whom: no student's id, name or row leaves the house by these ways.
"""
