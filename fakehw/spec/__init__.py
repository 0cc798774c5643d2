"""From YAML to checked values.

`document` reads with positions, `check` refuses by `schema` and `rules`, `entries` makes the `topology` that is left.
"""
