"""Who is timed: ours, and every other way in which the same rows could be made.

Put here: one module for each kind of contender: `ours`, whole runs through Dagster (`dagster_runs`), SQL by hand
(`sql`, with the statements below `statements/`), the `loop` over the students, the `floor`. Each leaves the same rows
in a table of its own; `benchmarks.agreement` holds them against ours before anything is timed.
Do not put here: how often, and in which order, they are run (`benchmarks.timing`).
"""
