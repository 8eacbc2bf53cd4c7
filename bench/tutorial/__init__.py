"""The yardstick: the same bridge as a tutorial writes it."""
