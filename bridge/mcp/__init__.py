"""``bridge mcp``: the operator's tools for a model, over the Model Context Protocol. A client of the admin API."""
