"""Formatting: an agent's answer becomes texts that a phone can show."""
