"""Slates: candidates, ranked, under rules, with reasons and the probability with which they were drawn."""
