"""Tests of headrace.simulator.billing."""
