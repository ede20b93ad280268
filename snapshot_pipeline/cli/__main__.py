"""Run the command line with `python -m snapshot_pipeline.cli`."""

from snapshot_pipeline.cli import main

main()
