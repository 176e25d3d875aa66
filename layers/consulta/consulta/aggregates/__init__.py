"""Precomputed figures: what an item contributes, applied exactly once."""
