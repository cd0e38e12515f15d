"""Servers that tests start themselves, on loopback: emulators, real ones, and a proxy that breaks things."""
