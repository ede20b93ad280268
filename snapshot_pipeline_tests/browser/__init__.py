"""What a person sees, in a real browser: Dagster's UI with our definitions, and the weekly report."""
