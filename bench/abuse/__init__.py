"""Hostile records on every topic and hostile requests on every route, beside a witness that must not notice."""
