"""HTTP calls to a provider. Each has one deadline and is never repeated."""
