"""Results as tables: for people on a terminal and, the same text, for Markdown."""

from __future__ import annotations

from harness.bars import BARS, CPU, GOOD, P50, P99, US
from harness.results import Results
from harness.scenarios import DEPTH, OVERLOAD, SCENARIOS, Scenario

Row = tuple[str, ...]


def table(header: Row, rows: list[Row]) -> list[str]:
    """A Markdown table, its columns aligned so that it can be read as it is."""
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    numbers = [":" if at else "" for at in range(len(header))]

    def line(row: Row) -> str:
        cells = (
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |"

    rule = "| " + " | ".join("-" * (width - len(end)) + end for width, end in zip(widths, numbers, strict=True)) + " |"
    return [line(header), rule, *(line(row) for row in rows)]


def number(value: float | None, digits: int = 3) -> str:
    """A figure: three digits that matter, whole from a hundred on."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def tables(results: Results) -> list[str]:
    """Every scenario that was measured, and the bars."""
    out: list[str] = []
    for scenario in SCENARIOS:
        if scenario.name in results.scenarios:
            out += [f"### {scenario.name}", "", scenario.about, ""]
            if scenario.name == OVERLOAD:
                out += overloads(results)
            elif scenario.name == DEPTH:
                out += depths(results)
            else:
                out += rates(results, scenario)
            out.append("")
    return [*out, "### Bars", "", *bars(results)]


def rates(results: Results, scenario: Scenario) -> list[str]:
    """Requests a second with Cresset's by them; then latencies; then CPU."""
    without = {case.system.name for case in scenario.cases if case.system.program == "bare"}
    measured = {name: cells for name, cells in results.scenarios[scenario.name].items() if name not in without}
    levels = sorted({int(level) for cells in measured.values() for level in cells})
    header = tuple(f"{level}" for level in levels)
    unit = "tasks" if scenario.kind == "submit-wait" else "requests"

    def rate(system: str, level: int) -> str:
        value = results.median(scenario.name, system, level, *GOOD)
        if value is None:
            return ""
        ratio = results.ratio(scenario.name, (US, level), (system, level), *GOOD)
        return number(value) if system == US or ratio is None else f"{number(value)} ({number(ratio, 2)}x)"

    def both(system: str, level: int) -> str:
        p50, p99 = (results.median(scenario.name, system, level, *path) for path in (P50, P99))
        return "" if p50 is None else f"{number(p50)} / {number(p99)}"

    def cpu(system: str, level: int) -> str:
        return number(results.median(scenario.name, system, level, *CPU))

    out: list[str] = []
    for title, cell in (
        (f"{unit}/s (Cresset's by it)", rate),
        ("p50 / p99, ms", both),
        (f"server CPU, us/{unit[:-1]}", cpu),
    ):
        rows = [(system, *(cell(system, level) for level in levels)) for system in measured]
        rows = [row for row in rows if any(row[1:])]
        if rows:
            out += [*table((title, *header), rows), ""]
    for name in without & results.scenarios[scenario.name].keys():
        batches = results.scenarios[scenario.name][name]
        told = [
            f"{number(results.median(scenario.name, name, int(size), *GOOD))}/s at batch {size}" for size in batches
        ]
        out += [f"{name[0].upper()}{name[1:]}: {', '.join(told)}.", ""]
    return out[:-1]


def overloads(results: Results) -> list[str]:
    """One line for each system."""
    rows: list[Row] = []
    for system, cells in results.scenarios[OVERLOAD].items():
        for text in cells:
            level = int(text)

            def of(*path: str, system: str = system, level: int = level) -> float | None:
                return results.median(OVERLOAD, system, level, *path)

            goodput, capacity = of("goodput"), of("capacity")
            rows.append(
                (
                    system,
                    number(capacity),
                    number(of("rate")),
                    number(goodput),
                    number(goodput / capacity if goodput is not None and capacity else None),
                    f"{number(of(*P50))} / {number(of(*P99))}",
                    f"{number(of('refused_ms', 'p50'))} / {number(of('refused_ms', 'p99'))}",
                    f"{number(of('errors'))} / {number(of('unanswered'))} / {number(of('unsent'))}",
                    f"{number(of('memory_mb', 'begin'))} / {number(of('memory_mb', 'most'))}",
                    f"{number(of('calm_ms', 'p50'))} / {number(of('after_ms', 'p50'))}",
                )
            )
    header = (
        "system",
        "capacity/s",
        "arrivals/s",
        "goodput/s",
        "by capacity",
        "accepted p50 / p99 ms",
        "refused p50 / p99 ms",
        "errors / unanswered / unsent",
        "server MB, begin / most",
        "lone p50 ms, before / after",
    )
    return table(header, rows)


def depths(results: Results) -> list[str]:
    """One line for each depth."""
    rows: list[Row] = []
    for level in map(int, results.scenarios[DEPTH][US]):

        def of(*path: str, level: int = level) -> str:
            return number(results.median(DEPTH, US, level, *path))

        latency = f"{of(*P50)} / {of(*P99)}"
        submits = (of("submits", *GOOD), of("submits", *CPU))
        rows.append((f"{level:,}", of(*GOOD), latency, of(*CPU), *submits, of("submits", "memory_mb", "most")))
    header = ("queued", "tasks/s", "p50 / p99, ms", "CPU, us/task", "submits/s", "CPU, us/submit", "server MB")
    return table(header, rows)


def bars(results: Results) -> list[str]:
    """Wanted, measured, yes or no; those that were not measured are only counted."""
    rows = [bar.row(results) for bar in BARS if bar.holds(results) is not None]
    missing = len(BARS) - len(rows)
    note = ["", f"{missing} further bars were not measured in this run."] if missing else []
    return [*table(("bar", "wanted", "measured", "reached"), rows), *note]
