"""Services, availability, free slots and appointments."""
