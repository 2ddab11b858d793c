"""What ``ray job submit`` starts: the commands ``kpod run``, ``kpod compare`` and ``kpod sweep``."""
