"""Tests of headrace.simulator.openai."""
