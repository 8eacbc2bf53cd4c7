"""Twilio: its REST API (``client``), what its webhooks say (``webhooks``), and what its refusals and its codes mean
(``refusals``, ``codes``).
"""
