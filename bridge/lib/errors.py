"""The base of every error that this package raises on purpose."""

from __future__ import annotations


class BridgeError(Exception):
    """Base of everything that this package raises on purpose."""
