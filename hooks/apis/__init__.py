"""Clients of the forges' APIs: calls and answers are values."""
