"""Features as of a cutoff: Ibis expressions over the canonical events, nothing at or after the cutoff."""
