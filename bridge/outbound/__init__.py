"""Stage 3: queue the answer, send it, and follow it until it is delivered or has failed."""
