"""The Supabase shape: a hosted-like project on a plain Postgres 15-18, with the QuantForge application.

The SQL files beside this one are the shape; `build` runs them in order. It serves the demo, the drills'
empty destinations and the tests. Here is no knowledge of backups.
"""

from strongroom.shape.build import build_platform, build_shape, prepare_roles

__all__ = ["build_platform", "build_shape", "prepare_roles"]
