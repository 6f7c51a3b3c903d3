"""Feast repository: entities, views, services, and the one definition of every feature."""

from feature_repo.unchecked import leave_feast_as_it_is

leave_feast_as_it_is()
