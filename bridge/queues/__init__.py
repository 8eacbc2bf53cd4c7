"""The durable queue of each conversation, and who may work on it."""
