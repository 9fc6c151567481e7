"""Attacks on the running system, each as a test."""
