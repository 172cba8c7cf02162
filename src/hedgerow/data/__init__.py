"""Data that packages ship: which files hedgerow knows, how they are fetched, and how they are read."""
