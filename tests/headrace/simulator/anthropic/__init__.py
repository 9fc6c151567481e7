"""Tests of headrace.simulator.anthropic."""
