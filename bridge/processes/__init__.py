"""The processes that the Procfile and the command line start."""
