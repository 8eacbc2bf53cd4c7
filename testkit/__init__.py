"""Shared by tests and benchmarks: processes, servers of their own, proxies, and waiting."""
