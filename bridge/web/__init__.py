"""HTTP in and out: it stores, wakes and shows, and never calls a provider."""
