"""What the pipeline needs of a platform's database, and what a given database lacks.

`requirements` is the contract as data, `catalogs` reads the structure from PostgreSQL's catalogs, which any role may
read, `findings` and `rows` compare. Rows are queried in read-only transactions with a time limit. Printing belongs to
`cli.check`.
"""

from snapshot_pipeline.platform.contract.check import DATA_CHECK_SECONDS, check_platform
from snapshot_pipeline.platform.contract.findings import Finding, Severity

__all__ = ["DATA_CHECK_SECONDS", "Finding", "Severity", "check_platform"]
