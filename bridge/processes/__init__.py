"""The processes: what the Procfile and the command line start."""
