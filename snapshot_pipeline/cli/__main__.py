"""`python -m snapshot_pipeline.cli`, for where the command is not on the path."""

from snapshot_pipeline.cli import main

main()
