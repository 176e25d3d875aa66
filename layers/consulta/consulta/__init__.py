"""Consulta's shared package: one folder per domain over a small core."""
