"""Ranking: blended candidates with their features, the models that order them, and how good the slates are."""
