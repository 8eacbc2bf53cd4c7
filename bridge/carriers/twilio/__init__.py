"""Twilio: its REST API (``client``), what its webhooks say (``webhooks``), and what its codes mean (``codes``)."""
