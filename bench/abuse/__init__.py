"""Hostile records on every topic, hostile requests on every route, and a witness that must not notice."""
