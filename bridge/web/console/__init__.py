"""The console: pages for operators at /console, rendered on the server. They write through ``bridge.operators``."""
