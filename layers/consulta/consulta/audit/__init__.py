"""The audit: a row for every change of every item, linked, sealed, provable (docs/audit.md)."""
