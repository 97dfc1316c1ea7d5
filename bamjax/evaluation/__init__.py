"""Scores: protocols, results, tables, and comparisons."""
