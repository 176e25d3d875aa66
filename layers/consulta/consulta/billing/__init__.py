"""What a practice has used, for its bill."""
