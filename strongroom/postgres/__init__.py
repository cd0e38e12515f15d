"""Postgres: sessions, catalogs, snapshots, capture, copying in, client programs, an embedded server."""
