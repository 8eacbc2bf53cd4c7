"""The environment of a bridge with the least that can be set."""

ENOUGH = {
    "PUBLIC_URL": "https://bridge.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "token",
    "RETELL_API_KEY": "key",
    "RETELL_AGENT_ID": "agent_1",
}
