"""Evaluation: protocols, scores, results files, comparisons, paper tables."""
