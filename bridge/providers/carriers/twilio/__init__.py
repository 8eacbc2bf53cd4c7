"""Twilio: its REST API, its webhooks, and what its error codes mean."""
