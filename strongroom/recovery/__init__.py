"""Restoring: whether a destination can take a backup, and the order in which it is written."""
