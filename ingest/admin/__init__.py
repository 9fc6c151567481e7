"""Routes about the service itself: health, costs, cache statistics.

Begin with `routes`.
"""
