"""Line plots as SVG that reads well on light and dark pages."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 72, 150, 40, 48
COLORS = ["#d9480f", "#1971c2", "#2b8a3e", "#862e9c", "#5f3dc4", "#0b7285"]
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#495057}.title{font-size:14px;font-weight:600}"
    ".grid{stroke:#adb5bd;stroke-opacity:.4}.back{fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#ced4da}}"
)


def lines(path, title, x_title, y_title, series, x_log=True, y_log=True):
    """Writes a plot of series {name: [(x, y), ...]}; nothing where there is nothing to show."""
    series = {name: sorted(points) for name, points in series.items() if points}
    if not series:
        return
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    across = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, x_log)
    up = Axis(min(ys) if y_log else 0, max(ys), HEIGHT - BOTTOM, TOP, y_log)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
    ]
    for tick in up.ticks():
        y = up.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in across.ticks():
        x = across.place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_title)}</text>')
    parts.append(f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>')
    for (name, points), color in zip(series.items(), COLORS):
        places = [(across.place(x), up.place(y)) for x, y in points]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
    for at, (name, color) in enumerate(zip(series, COLORS)):
        y = TOP + 12 + 20 * at
        parts.append(f'<circle cx="{WIDTH - RIGHT + 18}" cy="{y - 4}" r="4" fill="{color}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 28}" y="{y}">{escape(name)}</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


class Axis:
    def __init__(self, low, high, at_low, at_high, log):
        self.log = log and low > 0
        if self.log:
            low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
            high = high if high > low else low * 10
        else:
            high = high * 1.05 or 1
        self.low, self.high, self.at_low, self.at_high = low, high, at_low, at_high

    def place(self, value):
        scale = math.log10 if self.log else float
        part = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.at_low + part * (self.at_high - self.at_low)

    def ticks(self):
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**exponent for exponent in range(first, last + 1)]
        step = 10 ** math.floor(math.log10(self.high / 2))
        step *= next(by for by in (1, 2, 5, 10) if self.high / (step * by) <= 6)
        return [step * at for at in range(int(self.high / step) + 1)]


def number(value):
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"
