"""HTML reports: a page about a run (`run`), a comparison (`comparison`) or a sweep (`sweep`).

In these packages, ``data`` defines the results as plain values, ``collect`` reads the results from
artifacts (for a sweep, `kpod_ray.sweep.run` does), ``tables`` and ``figures`` convert the results to
rows of text and to plotly figures, ``wording`` writes conclusions as sentences (of a comparison,
``headline`` the first ones), and ``page`` renders the HTML (for a sweep, ``page`` makes the rows). The
three packages don't import each other. The Jinja templates are in ``templates/``.
"""
