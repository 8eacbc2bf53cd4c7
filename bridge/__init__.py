"""An SMS bridge: people text a Twilio number, and a chat agent answers them by text."""

__version__ = "0.1.0"
