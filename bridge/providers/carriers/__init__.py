"""Carriers: the contract, the registry, and one package for each carrier."""
