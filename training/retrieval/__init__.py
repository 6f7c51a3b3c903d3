"""Candidate generation: who might be offered what, from purchases before a cutoff. One generator a module."""
