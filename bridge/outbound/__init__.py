"""The answer is sent, and followed until it arrives."""
