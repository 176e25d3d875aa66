"""Who is paid: connected accounts, their sessions, balances and payouts."""
