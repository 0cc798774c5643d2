"""From YAML to checked values.

`check` is the door. `document` reads with positions, `schema` and `rules` refuse, `ranges` reads what stands for many,
`entries` makes the `topology` that is left, one value at a time; `expanded` writes it out, `profiles` come with fakehw.
"""
