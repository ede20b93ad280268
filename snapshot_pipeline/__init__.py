"""Nightly performance snapshots and weekly recommendations for learning platforms."""
