"""The engine of Strongroom: captures, seals, verifies and restores a Supabase project.

Knows nothing of Prefect, is synchronous, and is typed throughout. `docs/design.md` is the law of
what lives in which room; `docs/glossary.md` is the law of names.
"""

import logging

# What a store logs is for whoever configures logging; without it nothing shows on anybody's terminal.
logging.getLogger(__name__).addHandler(logging.NullHandler())
