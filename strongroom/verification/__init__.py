"""Verification: what is checked at each level, and what becomes a finding."""
