"""The comparison's result as tables and bars."""

from matplotlib.figure import Figure

from benchmarks import report
from benchmarks.figures import Summary, percentile, summarise
from benchmarks.peers import ours


def as_markdown(result: dict[str, object]) -> str:
    """The tables of what `compare.run` returned."""
    parts = ["# What an answer costs", report.conditions_text(result["conditions"])]
    for size, rows in result["sizes"].items():
        parts += [f"## {size} JPEG", report.table(_HEADER, [_row(name, row) for name, row in rows.items()])]
    parts += [
        "CPU milliseconds are the server's alone, median over the blocks (least to greatest). Requests a second and "
        "latencies are by the clock, with the client on the same cores.",
        "## Reaches",
        report.table(
            ["cost ratio", "pictures", "median (spread)", "wanted", "reached"],
            [
                [name, reach["size"], _spread(Summary(**reach["ratio"]), 2), f"{reach['target']:.2f}",
                 "yes" if reach["ratio"]["median"] >= reach["target"] else "no"]
                for name, reach in result["reaches"].items()
            ],
        ),
        f"## By stage, ours by REST, {result['stages_size']}",
        _stage_table(result["stages"]),
        "Milliseconds a request: latency and queue are waiting, the others processor time that sums up to the total.",
        "## Servers",
        report.table(
            ["server", "memory MB (PSS)", "idle CPU ms/s"],
            [
                [name, f"{row['memory_mb']:.0f}", f"{row['idle_cpu_ms_per_second']:.0f}"]
                for name, row in result["servers"].items()
            ],
        ),
        "## Same model",
        report.table(
            ["answers", "same labels", "largest difference of a probability"],
            [
                [name, f"{row['same_labels']:.0%}", f"{row['largest_difference']:.3f}"]
                for name, row in result["agreement"].items()
            ],
        ),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


_HEADER = ["", "CPU ms a request", "requests/s", "p50 ms", "p95 ms", "p99 ms"]


def _row(name: str, row: dict[str, list[float]]) -> list[str]:
    rates = summarise(row["requests_per_second"])
    latencies = [f"{1000 * percentile(row['latencies'], share):.0f}" for share in (0.5, 0.95, 0.99)]
    return [name, _spread(summarise(row["cpu_ms"]), 1), _spread(rates, 1), *latencies]


def _spread(summary: Summary, digits: int) -> str:
    return f"{summary.median:.{digits}f} ({summary.low:.{digits}f} to {summary.high:.{digits}f})"


def _stage_table(stages_by_load: dict[str, dict[str, float]]) -> str:
    names = next(iter(stages_by_load.values()))
    rows = [[name, *(f"{by_stage[name]:.2f}" for by_stage in stages_by_load.values())] for name in names]
    return report.table(["stage", *stages_by_load], rows)


def plot(result: dict[str, object]) -> Figure:
    """CPU milliseconds a request: a row of bars for each size, with the least and greatest block."""
    sizes = result["sizes"]
    figure = Figure(figsize=(4.2 * len(sizes), 3.4))
    for axes, (size, rows) in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes.items(), strict=True):
        summaries = [summarise(row["cpu_ms"]) for row in rows.values()]
        medians = [summary.median for summary in summaries]
        errors = [[s.median - s.low for s in summaries], [s.high - s.median for s in summaries]]
        colours = ["#dd7733" if name in (ours.REST, ours.GRPC) else "#3366aa" for name in rows]
        axes.barh(list(rows), medians, xerr=errors, color=colours)
        axes.invert_yaxis()
        axes.set(title=f"{size} JPEG", xlabel="CPU ms a request")
    figure.tight_layout()
    return figure
