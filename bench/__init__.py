"""Benchmarks and the chaos suite; see README.md."""
