"""Hostile text for tests of the report: scripts, broken tags, control characters, bad Unicode."""

import dataclasses

PAYLOAD = "document.documentElement.dataset.hacked=1"
HOSTILE = (
    f"</script><script>{PAYLOAD}</script><img src=x onerror={PAYLOAD}>"
    f"\"'><svg onload='{PAYLOAD}'><a href=\"javascript:{PAYLOAD}\">a</a>--><!--<script>]]>"
    "\x00\x1b[31m \u202eevil\u2066 \ud800 {{ 7 * 7 }} &lt;b&gt; \u05e9\u05dc\u05d5\u05dd "
    "</style></pre></textarea>"
)


def poisoned(value):
    """Return a copy of plain data with the hostile text in place of every string.

    Args:
        value: a string, number, tuple, dict or dataclass, nested to any depth. In a dict, the hostile
            text is also put before every key.
    """
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(poisoned(element) for element in value)
    if isinstance(value, dict):
        return {f"{HOSTILE}{key}": poisoned(element) for key, element in value.items()}
    if dataclasses.is_dataclass(value):
        fields = {f.name: poisoned(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return type(value)(**fields)
    return value
