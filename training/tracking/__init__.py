"""The tracker's studies: recorded clips, comparison, search of settings, lasting embeddings."""
