"""Stage 2: ask the agent, and record its answer."""
