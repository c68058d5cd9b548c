"""Figures against programs whose truth is known."""
