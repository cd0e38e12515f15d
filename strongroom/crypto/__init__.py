"""Sealing, keys and signatures. Pure: randomness and passphrases are arguments, callers pass `os.urandom`."""
