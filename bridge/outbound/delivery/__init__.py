"""One delivery: claim, send or reconcile, settle."""
