"""The repository: sealed objects in a store, kept in the order that the invariants I1 to I8 demand."""
