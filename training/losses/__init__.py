"""Losses: free functions on plain tensors, one subject per file, one entry per model family."""
