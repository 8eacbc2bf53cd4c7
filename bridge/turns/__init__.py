"""The agent is asked, and its answer recorded."""
