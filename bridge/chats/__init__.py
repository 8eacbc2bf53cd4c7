"""The agent's sessions. A turn opens them; the agent, an operator or time ends them."""
