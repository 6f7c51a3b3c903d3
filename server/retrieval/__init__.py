"""Candidates for a user: the bundle's sources, asked with what the online store knows of the user now."""
