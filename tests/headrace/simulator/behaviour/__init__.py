"""Tests of headrace.simulator.behaviour."""
