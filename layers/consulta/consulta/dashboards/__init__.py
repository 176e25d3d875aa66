"""What each role sees first, read from figures that are already there."""
