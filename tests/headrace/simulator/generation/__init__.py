"""Tests of headrace.simulator.generation."""
