"""HTML reports: one page about a run (`run`), a comparison (`comparison`) and a sweep (`sweep`).

In each of the three packages ``data`` holds the results as plain values, ``tables`` and ``figures``
turn them into rows and charts, and ``page`` renders the page. `run.collect` and `comparison.data` read
the artifacts. Templates lie in ``templates/``.
"""
