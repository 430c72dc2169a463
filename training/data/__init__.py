"""Data the models learn from: readers of data sets and the synthetic city."""
