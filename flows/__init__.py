"""Flows: the story of a backup, a verification, a recovery, in order. They branch on reports only."""
