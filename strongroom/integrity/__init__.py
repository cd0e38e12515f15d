"""Great Expectations suites built from a manifest, run after every restore.

`suites` says what must hold (pure), `measurements` writes the SQL that finds out (pure), `destination`
holds the one session, `expectations` and `evaluation` are the border to Great Expectations, `data_docs`
makes its pages readable offline, `judge` puts the parts together.
"""
