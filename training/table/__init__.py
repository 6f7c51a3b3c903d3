"""The same model for any flat table with a binary label: read, infer types, split, train, compare, export."""
