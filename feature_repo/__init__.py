"""Feast repository: entities, views, services, and the one definition of every feature."""
