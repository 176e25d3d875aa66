"""API models of money: what comes in and what goes out, by resource."""
