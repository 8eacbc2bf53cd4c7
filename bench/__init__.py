"""Benchmarks of the bridge, and of other bridges for comparison. Nothing here is shipped."""
