"""Planning a recovery: the recovery point, the scope, the steps, the risk, each with its reasons. Pure.

The clock, randomness, what the catalog lists and what live holds are handed in: the same arguments, the same plan.
"""
