"""What the agent wrote becomes what a phone can show."""
