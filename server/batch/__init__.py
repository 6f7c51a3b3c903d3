"""Scoring of whole files of users and items, straight from the online store, without a server."""
