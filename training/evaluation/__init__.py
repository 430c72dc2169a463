"""Scores of a model, or of predictions on disk, over a data set."""
