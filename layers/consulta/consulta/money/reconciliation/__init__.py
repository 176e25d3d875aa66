"""Daily reconciliation: what the providers say moved, beside what our ledger says moved."""
