"""Contenders: our pipeline and other ways of computing the same rows.

`ours` calls the pipeline, `dagster_runs` runs it through Dagster, `sql` runs the hand-written statements of
`statements/`, `loop` computes one student at a time, `floor` only reads or loads. Each writes the same rows to a table
of its own, which `benchmarks.agreement` compares with ours before anything is timed.
"""
