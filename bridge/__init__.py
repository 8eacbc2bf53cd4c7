"""An SMS bridge: people text a Twilio number, and a chat agent answers them by text."""

__version__ = "1.0.0"
