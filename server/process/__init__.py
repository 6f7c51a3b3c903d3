"""What makes the server stand in production: worker processes, limits on what is taken in, readiness, orderly ends."""
