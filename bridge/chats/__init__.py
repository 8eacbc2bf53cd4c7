"""The agent's sessions: opened by a turn, ended by the agent, an operator or time."""
