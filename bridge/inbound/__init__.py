"""A message comes in and is stored once."""
