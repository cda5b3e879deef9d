"""Draw loss and accuracy, or other columns, over the epochs as SVG, by hand: not every image has matplotlib. Pure."""

WIDTH, HEIGHT, LEFT, TOP = 360, 220, 48, 30
COLOURS = {"train": "#1f77b4", "val": "#d62728", "bbox": "#2ca02c", "segm": "#9467bd"}


def curves(rows, names=("loss", "accuracy")):
    """A panel for each name, with a line for each column of it, such as train_loss; a row is an epoch."""
    panels = "".join(panel(rows, name, offset=i * (WIDTH + LEFT + 24)) for i, name in enumerate(names))
    size = f'width="{len(names) * (WIDTH + LEFT + 24)}" height="{HEIGHT + TOP + 40}"'
    style = "text { font: 12px sans-serif }"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{panels}</svg>\n'


def panel(rows, name, offset):
    """A frame with its scale, and a line for each column of the name."""
    columns = [key for key in rows[0] if key.partition("_")[2] == name]
    top = max([1e-9, *(row[key] for row in rows for key in columns)]) if name == "loss" else 1.0
    last = max(row["epoch"] for row in rows)
    frame = (
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>'
        f'<text x="{LEFT}" y="{TOP - 10}">{name}</text>'
        f'<text x="{LEFT - 6}" y="{TOP + 8}" text-anchor="end">{top:.3g}</text>'
        f'<text x="{LEFT - 6}" y="{TOP + HEIGHT}" text-anchor="end">0</text>'
        f'<text x="{LEFT + WIDTH}" y="{TOP + HEIGHT + 18}" text-anchor="end">epoch {last}</text>'
    )
    lines = "".join(line(rows, key, top, last) + label(key, i) for i, key in enumerate(columns))
    return f'<g transform="translate({offset} 0)">{frame}{lines}</g>'


def line(rows, key, top, last):
    """The column's values, with a dot for each epoch."""
    points = [(LEFT + WIDTH * row["epoch"] / last, TOP + HEIGHT * (1 - min(row[key] / top, 1.0))) for row in rows]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour(key)}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour(key)}" stroke-width="1.5"/>{dots}'


def label(key, place):
    """The column's name in its colour, above the frame."""
    x = LEFT + WIDTH - 150 + 75 * place
    return f'<text x="{x}" y="{TOP - 10}" fill="{colour(key)}">{key.partition("_")[0]}</text>'


def colour(key):
    """One for training and one for validation, in both panels."""
    return COLOURS[key.partition("_")[0]]
