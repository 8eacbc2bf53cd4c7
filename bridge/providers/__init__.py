"""The providers behind their APIs: chat agents and carriers."""
