"""Talking to a vendor over HTTP: what the adapters of both sides share, agents and carriers.

What a vendor's answers mean stands in its own module.
"""
