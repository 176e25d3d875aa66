"""Practices, members, experts, patients and signing in."""
