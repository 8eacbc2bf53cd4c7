"""Twilio: sending by its REST API (``client``), and what its webhooks say (``webhooks``)."""
