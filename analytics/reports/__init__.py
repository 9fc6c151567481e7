"""The query catalogue, and how analysts' queries are read, bounded and answered.

Begin with `catalogue`.
"""
