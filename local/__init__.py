"""What only a laptop needs: a local AWS, simulators of the providers, demo data."""
