"""Chat agents: the contract, the routes, and one package for each provider."""
