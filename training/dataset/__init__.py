"""Training sets: labelled user × item rows with the features that were known at the time."""
