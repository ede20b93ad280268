"""Who is told when something goes wrong: once when it begins, once a day while it lasts, once when it is over.

    observations ──▶ incidents and their messages ──▶ channels
    (orchestration)   (one transaction, `record`)     (one transaction a message, `deliver`)

Put here: what is an incident, what a message says, which channels there are, how a message gets there.
Do not put here: Dagster (`orchestration.observations` looks at it), the SQL of the tables (`store.incidents`,
`store.outbox`), or telemetry, which nobody is woken by (`telemetry`).
"""
