"""What the pipeline needs of a platform's database, and what of it a given database lacks.

Put here: the contract (columns, types, keys, rights), how a database is held against it, and what each finding says.
Do not put here: the reads themselves (`reads`), or how findings are printed (`cli.check`).

The structure is read from PostgreSQL's catalogs, which any role may read, so a role without rights is told which ones
it lacks. The rows are looked at in read-only transactions with a time limit, and only where the structure allows it.
"""

from snapshot_pipeline.platform.contract.check import DATA_CHECK_SECONDS, check_platform
from snapshot_pipeline.platform.contract.findings import Finding, Severity

__all__ = ["DATA_CHECK_SECONDS", "Finding", "Severity", "check_platform"]
