"""What the providers tell us: intake, the inbox, each type's effect, replay and repair."""
