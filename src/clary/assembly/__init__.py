"""The only composition root: options in, objects made, tasks running. `python -m clary.assembly` is control.

`base` opens what everything stands on, `hosting` makes what runs models and jobs, `operations` and `pages` what is
answered, `control` lets it run. A new part is a field of one of the first two, and a line in one of the others.
"""
