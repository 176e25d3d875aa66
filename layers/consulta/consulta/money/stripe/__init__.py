"""Stripe: its adapter of payments, accounts, disputes, payouts, and what it reads."""
