"""The shared tools of tests and benches: processes, servers, proxies, and waiting."""
