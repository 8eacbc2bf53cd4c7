"""Queries for operators, without side effects."""
