"""Who is timed: ours, and every other way in which the same rows could be made.

Put here: one module for each task (`one_day`, `days`, `week`) with its contenders, the SQL that is handed to the server
as it is (`sql/`), and `ours`, which is the same for all tasks. Every contender leaves the same rows in a table of its
own; `benchmarks.agreement` holds them against ours before anything is timed.
Do not put here: how often, and in which order, they are run (`benchmarks.timing`).
"""
