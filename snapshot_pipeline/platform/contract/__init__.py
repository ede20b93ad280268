"""What the pipeline needs of a platform's database, and what a given database lacks.

`requirements` is the contract as data, `catalogs` reads the structure from PostgreSQL's catalogs, which any role may
read, `findings`, `rows` and `plausibility` compare. Rows are queried in read-only transactions with a time limit.
Printing belongs to `cli.check`.
"""

from snapshot_pipeline.platform.contract.check import DATA_CHECK_SECONDS, check_platform
from snapshot_pipeline.platform.contract.findings import SEVERITIES, Finding, Severity, sort_findings
from snapshot_pipeline.platform.contract.rows import RowRules
from snapshot_pipeline.platform.contract.states import TableState, read_table_states

__all__ = [
    "DATA_CHECK_SECONDS",
    "SEVERITIES",
    "Finding",
    "RowRules",
    "Severity",
    "TableState",
    "check_platform",
    "read_table_states",
    "sort_findings",
]
