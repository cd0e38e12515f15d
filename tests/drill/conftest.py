"""Fixtures for the room of drills: the Prefect server that the room of flows has, too."""

from tests.flows.conftest import prefect_server

__all__ = ["prefect_server"]
