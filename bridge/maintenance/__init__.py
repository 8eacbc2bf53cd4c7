"""What the clock runs: it finds and repairs what the normal way missed."""
