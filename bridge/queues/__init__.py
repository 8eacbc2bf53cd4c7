"""The durable queues of each conversation, and the leases of the workers on them."""
