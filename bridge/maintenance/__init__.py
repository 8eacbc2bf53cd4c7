"""The jobs of the clock. They find and repair the work that the normal way has missed."""
