"""HTTP to a provider: one call, one deadline, no repetition."""
