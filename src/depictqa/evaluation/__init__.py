"""Figures over answer files: accuracy, correlation with opinion scores, a judge for long answers. Never torch."""
