"""Orders, payments and refunds: making them, and bringing them to what providers say."""
