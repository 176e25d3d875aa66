"""What only a laptop needs: a local AWS, simulators of the payment providers, demo data."""
