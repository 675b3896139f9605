"""RESULTS.md and the plots, from what was measured."""

import json
import re

import groups
import plot

HEAD = """# Lepus beside other brokers

Written by `benches/versus/run`; its first lines say how to repeat it. Broker, load generator (`lepus perf`) and disk share one
machine. Every figure is the median of its runs, which the brokers do in turns; behind it, where there was more than one, the
smallest and the largest. CPU is the broker's process, user and system time, for each message published; latency is from
publish to delivery. "min" is what the design asks for.
"""


def write(here):
    results = {}
    for name in groups.ALL:
        path = here / "results" / f"{name}.json"
        if path.exists():
            results[name] = json.loads(path.read_text(encoding="utf-8"))
    parts = [HEAD]
    for name, result in results.items():
        versions = ", ".join(f"{broker} {version}" for broker, version in result["versions"].items())
        parts.append(f"## {groups.ALL[name].__doc__.splitlines()[0]}\n")
        parts.append(f"{result['date']}; {versions}; {result['rounds']} rounds of {result['seconds']:g} s; {result['machine']}\n")
        parts.append(table(result["rows"]))
        for picture, text in PLOTS.get(name, lambda *_: [])(here / "plots", result["rows"]):
            parts.append(f"![{text}](plots/{picture})\n")
    (here / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")


COLUMNS = [
    ("sent/s", "sent_per_s", lambda v: f"{v:,.0f}"),
    ("received/s", "received_per_s", lambda v: f"{v:,.0f}"),
    ("rounds/s", "per_s", lambda v: f"{v:,.0f}"),
    ("CPU, µs a message", "cpu_us", lambda v: f"{v:.2f}"),
    ("CPU, µs a round", "cpu_us_round", lambda v: f"{v:.1f}"),
    ("p50, ms", "p50_us", lambda v: f"{v / 1000:.2f}"),
    ("p99, ms", "p99_us", lambda v: f"{v / 1000:.2f}"),
    ("p99.9, ms", "p999_us", lambda v: f"{v / 1000:.2f}"),
    ("confirm p50, ms", "confirm_p50_us", lambda v: f"{v / 1000:.2f}"),
    ("confirm p99, ms", "confirm_p99_us", lambda v: f"{v / 1000:.2f}"),
    ("seconds", "seconds", lambda v: f"{v:.2f}"),
    ("RSS, MiB", "rss_mib", lambda v: f"{v:,.0f}"),
]


def table(rows):
    shown = [(title, key, form) for title, key, form in COLUMNS if any(key in row for row in rows)]
    lines = ["| load | broker | " + " | ".join(title for title, *_ in shown) + " |", "|" + "---|" * (2 + len(shown))]
    for row in rows:
        cells = [cell(row.get(key), form) for _, key, form in shown]
        lines.append(f"| {row['label']} | {row['broker']} | " + " | ".join(cells) + " |")
    budgets = {name: (rate, cpu) for name, _, rate, cpu in groups.BUDGETS}
    wanted = [name for name in budgets if any(row["label"] == name for row in rows)]
    if wanted:
        lines += ["", "| load | rate, min | CPU, µs a message, max |", "|---|---|---|"]
        for name in wanted:
            rate, cpu = budgets[name]
            lines.append(f"| {name} | {'' if rate is None else f'{rate:,}'} | {'' if cpu is None else cpu} |")
    return "\n".join(lines) + "\n"


def cell(figures, form):
    if figures is None:
        return ""
    low, middle, high = figures
    return form(middle) if low == high else f"{form(middle)} ({form(low)}–{form(high)})"


def series(rows, x, y, scale=1.0):
    """{broker: [(x, median of y)]} of the rows that x gives a number for."""
    made = {}
    for row in rows:
        at = x(row["label"])
        if at is not None and y in row:
            made.setdefault(row["broker"], []).append((at, row[y][1] / scale))
    return made


def plots_of_sizes(folder, rows):
    folder.mkdir(exist_ok=True)
    plot.lines(folder / "rate.svg", "Messages received a second, auto-ack", "bytes of body", "messages/s", series(rows, float, "received_per_s"))
    plot.lines(folder / "cpu.svg", "Broker CPU for a message, auto-ack", "bytes of body", "µs", series(rows, float, "cpu_us"))
    return [("rate.svg", "Rate by size"), ("cpu.svg", "CPU per message by size")]


def plots_of_load(folder, rows):
    folder.mkdir(exist_ok=True)
    made = {}
    for quantile in ("p50", "p99"):
        for broker, points in series(rows, float, f"{quantile}_us", 1000).items():
            made[f"{broker}, {quantile}"] = points
    plot.lines(folder / "latency.svg", "Latency by load, 16 B", "messages/s", "ms", made)
    return [("latency.svg", "Latency against load")]


def plots_of_flat(folder, rows):
    return plots_of_counts(folder, rows, "flat.svg", "Cost against the number of queues, bindings and waiting messages")


def plots_of_connections(folder, rows):
    return plots_of_counts(folder, rows, "connections.svg", "Cost against the number of connections")


def plots_of_counts(folder, rows, picture, text):
    folder.mkdir(exist_ok=True)
    made = {}
    for row in rows:
        kind, _, rest = row["label"].partition(":")
        count = re.search(r"[\d,]+", rest)
        if count and row["broker"] == "Lepus" and "cpu_us" in row:
            kind = kind if "traffic" not in rest else "queues in use"
            made.setdefault(kind, []).append((max(float(count.group().replace(",", "")), 1), row["cpu_us"][1]))
    plot.lines(folder / picture, "Broker CPU for a message, by what there is beside it", "how many", "µs", made, y_log=False)
    return [(picture, text)]


PLOTS = {"sizes": plots_of_sizes, "load": plots_of_load, "flat": plots_of_flat, "connections": plots_of_connections}
