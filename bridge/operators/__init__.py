"""What operators do: texts to a person, ended chats, the pause, repeated failures; and the audit of it."""
