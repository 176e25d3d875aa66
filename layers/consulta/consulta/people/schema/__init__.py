"""API models of people: what comes in and what goes out, by resource."""
