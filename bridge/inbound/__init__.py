"""Stage 1: store an inbound text once, and choose its queue."""
