"""The models a server has: which versions are loaded, who is served by which, and how that changes while it serves."""
