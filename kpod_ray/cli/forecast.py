"""Print the forecast of a run: ``kpod run --dry-run``, and a part of ``kpod doctor CONFIG``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kpod_ray.cli.show_run import BEGUN, FINISHED, count_text
from kpod_ray.cli.terminal import Terminal
from kpod_ray.pipeline.forecast.estimates import Amount, total
from kpod_ray.pipeline.forecast.forecast import Forecast, PhaseForecast, Place
from kpod_ray.pipeline.forecast.work import Counted, Work
from kpod_ray.report.formatting import NO_BREAK_SPACE, duration

TO_DO = "to do"
"""State of a phase of which nothing is there."""
_NAME, _LABEL = 21, 9  # columns
_Line = tuple[str, str]
"""A label, such as ``time``, and what stands behind it."""


def print_forecast(expected: Forecast, console: Terminal) -> None:
    """Print some lines for each phase, then the time and the costs of all."""
    for phase in expected.phases:
        for number, (label, text) in enumerate(_lines(phase)):
            name = "" if number else phase.name
            console.write_line((f"{name:<{_NAME}}", "bold"), f"{label:<{_LABEL}} {text}".rstrip())
    unfinished = [phase for phase in expected.phases if phase.manifest is None]
    if not unfinished:
        console.write_line("nothing is to do")
        return
    console.write_line(f"time in all: {_whole_time([phase.seconds for phase in unfinished])}")
    console.write_line(f"costs: {_costs(expected)}")


def _lines(phase: PhaseForecast) -> Iterator[_Line]:
    """Yield the lines of a phase; the first begins with its state."""
    if phase.manifest is not None:
        yield FINISHED, count_text(phase.manifest)
        return
    work = phase.work or Work("how much there is to do is not known")
    yield (BEGUN if phase.is_begun else TO_DO), work.does
    places = "; then ".join(map(_place_text, phase.places))
    yield "where", places or "in the process of kpod run"
    if work.amounts:
        yield "how much", ", ".join(map(_counted, work.amounts))
    for remark in work.remarks:
        yield "", remark
    yield "time", _phase_time(phase)
    if work.cost is not None:
        yield "costs", _cost_text(work)


def _place_text(place: Place) -> str:
    words = {True: "fits", False: "doesn't fit", None: "the nodes aren't known"}
    return f"{place.processes}: {words[place.fits]}"


def _counted(counted: Counted) -> str:
    amount, what = counted
    return f"{what}: not known" if amount is None else f"{amount} {what}"


def _phase_time(phase: PhaseForecast) -> str:
    """Return the time of a phase, and the earlier run that it is taken from."""
    if phase.seconds is None:
        return "not known"
    largest = max(phase.measured, key=lambda measured: measured.items)
    others = len(phase.measured) - 1
    more = f" and {others} more" if others else ""
    basis = f"{largest.source} took {_seconds_text(largest.seconds)}"
    return f"{_time_text(phase.seconds)}: {basis} for {largest.items:,}{more}"


def _whole_time(times: Sequence[Amount | None]) -> str:
    """Return the sum of the known times, and how many phases have none."""
    known, unknown = total(times), times.count(None)
    reason = "no finished run in this storage did the same work"
    if known is None:
        return f"not known, {reason}"
    without = f", without {unknown} of {len(times)} phases: {reason}" if unknown else ""
    return f"{_time_text(known)}{without}"


def _time_text(seconds: Amount) -> str:
    return f"{seconds.prefix()}{_seconds_text(seconds.value)}"


def _seconds_text(seconds: float) -> str:
    return duration(seconds).replace(NO_BREAK_SPACE, " ")


def _cost_text(work: Work) -> str:
    """Return the cost of an endpoint's requests."""
    assert work.cost is not None
    if work.has_price:
        return f"{work.cost}, in the currency of teacher.price"
    return f"{work.cost.num_requests:,} requests: not known, teacher.price isn't set"


def _costs(expected: Forecast) -> str:
    """Return the costs of all phases."""
    for phase in expected.phases:
        if phase.work is not None and phase.work.cost is not None:
            return _cost_text(phase.work)
    return "those of the machines; no endpoint is asked"
