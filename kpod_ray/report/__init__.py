"""HTML reports: one page about a run (`run`), a comparison (`comparison`) and a sweep (`sweep`).

In each of the three packages ``data`` holds the results as plain values, ``collect`` reads the results
from artifacts (`kpod_ray.sweep` fills in those of a sweep), ``tables`` and ``figures`` turn the results
into rows and charts, and ``page`` renders the page. The three packages import nothing of each other.
Templates lie in ``templates/``.
"""
