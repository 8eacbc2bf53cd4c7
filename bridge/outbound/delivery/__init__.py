"""One delivery: claim, send, reconcile, settle."""
