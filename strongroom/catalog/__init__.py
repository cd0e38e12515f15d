"""The catalog: an immutable view of backups, and what follows from it. Pure."""
