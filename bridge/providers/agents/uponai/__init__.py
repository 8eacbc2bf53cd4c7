"""UponAI's chat API."""
