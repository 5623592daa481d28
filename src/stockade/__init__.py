"""Stockade: a container engine whose wall you choose."""

__version__ = "0.1.0"
