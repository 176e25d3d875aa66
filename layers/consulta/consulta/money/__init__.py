"""Payments, refunds, the ledger, connected accounts and what the providers tell us."""
