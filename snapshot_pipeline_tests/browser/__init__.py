"""Browser tests: Dagster's UI with our definitions, and the weekly report."""
