"""From YAML to checked values.

`document` reads with positions, `schema` and `check` refuse, `topology` is what is left.
"""
