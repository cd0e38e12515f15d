"""Drills: what their evidence is, how it reads, and the damage that a mutation drill does to copies.

`evidence` puts together what was measured (pure), `page` makes the page that people read (pure), `copying` takes a
copy of what one backup reaches, `damage` damages such a copy, and `database_damage` a drilled database. Here is no
knowledge of who starts a drill, nor of how it is carried out: that is the flow `drill`.
"""
