"""Persisted bytes: documents, packs, row maps, liveness. The only code that knows them. Pure."""
