"""The commands: the only door. Nothing below imports from here."""
