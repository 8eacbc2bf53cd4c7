"""What tests and benches share: processes, servers of their own, proxies, and waiting."""
