"""API models of scheduling: what comes in and what goes out, by resource."""
