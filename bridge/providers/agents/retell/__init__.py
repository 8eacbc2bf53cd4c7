"""Retell's chat API."""
