"""The external providers behind their APIs: chat agents and carriers."""
