"""DepictQA: describe, compare and rate the quality of photos in words."""

__version__ = "0.1.0"
