"""Tests of the benchmark, on a few hundred students: that it measures the right thing, never how fast it is."""
