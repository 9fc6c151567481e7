"""Tests of `analytics.feedback`."""
