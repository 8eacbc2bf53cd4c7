"""The queries of operators. They have no side effects."""
