"""Rollups: sums and sketches per hour or day, kept up to date in the background.

Begin with `definitions`.
"""
