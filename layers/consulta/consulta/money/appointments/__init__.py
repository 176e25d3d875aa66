"""What people do to an appointment that money has a part in."""
