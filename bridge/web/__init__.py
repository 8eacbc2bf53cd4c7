"""HTTP in and out. It stores, wakes and shows, and never calls a provider."""
