"""The picture of a comparison as a file: SVG, a page that stands alone, or PNG by way of an optional library."""

from collections.abc import Callable, Mapping
from html import escape
from importlib import import_module
from pathlib import Path

from greenrun.core.errors import Problem
from greenrun.simulation.picture import Row, Shown, draw

_PNG_WIDTH = 1920  # twice the picture's own, for screens with dense pixels
_FIELD = "--plot"

_STYLE = """
:root { color-scheme: light dark }
body { margin: 2rem auto; max-width: 992px; padding: 0 1rem; background: #ffffff; color: #1f2328;
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem; font-weight: 600 } figure { margin: 0; overflow-x: auto }
figure svg { max-width: 100%; min-width: 640px; height: auto; display: block }
.table { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .5rem 0 }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #d1d9e0; text-align: right; white-space: nowrap }
th:first-child, td:last-child, th:last-child { text-align: left } th { font-weight: 600 }
td:last-child { white-space: normal; min-width: 16rem }
p { color: #59636e }
@media (prefers-color-scheme: dark) {
body { background: #0d1117; color: #e6edf3 } th, td { border-color: #2d343d } p { color: #9da7b3 } }
"""


def page(shown: Shown) -> str:
    """Return one HTML page with the picture and its figures as a table; it asks nothing of the network."""
    heads = ["policy", *shown.rows[0].cells, "what it does"]
    bound = f"; {shown.bound}" if shown.bound else ""
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>greenrun simulate: {escape(shown.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>greenrun simulate</h1>
<figure>
{draw(shown)}</figure>
<div class="table">
<table>
<caption>The policies side by side</caption>
<thead><tr>{columns}</tr></thead>
<tbody>
{"".join(map(_line, shown.rows))}</tbody>
</table>
</div>
<p>Savings are against starting each job as soon as GPUs are free{escape(bound)}.</p>
</main>
</body>
</html>
"""


def png(shown: Shown) -> bytes:
    """Return the picture as PNG; it needs the library that `plot_problems` asks for."""
    drawn: bytes = import_module("cairosvg").svg2png(bytestring=draw(shown).encode(), output_width=_PNG_WIDTH)
    return drawn


FORMS: Mapping[str, Callable[[Shown], str | bytes]] = {".html": page, ".svg": draw, ".png": png}


def plot_problems(path: str) -> list[Problem]:
    """Return what keeps a picture from being written to this path, or nothing."""
    ending, folder = Path(path).suffix.lower(), Path(path).absolute().parent
    problems = []
    if ending not in FORMS:
        problems.append(f"'{path}' ends in none of {', '.join(FORMS)}, which tell what to draw")
    if not folder.is_dir():
        problems.append(f"{folder} is not a folder")
    elif Path(path).is_dir():
        problems.append(f"{path} is a folder, not a file")
    if ending == ".png":
        problems += _png_problems()
    return [Problem(field=_FIELD, message=message) for message in problems]


def _png_problems() -> list[str]:
    try:
        import_module("cairosvg")
    except ImportError:
        return ["a .png needs CairoSVG, which is not installed: pip install 'greenrun[plot]', or write .svg or .html"]
    except OSError:  # raised by cairocffi, when the C library is absent
        return ["a .png needs the cairo library of this system (Debian: libcairo2): install it, or write .svg or .html"]
    return []


def _line(row: Row) -> str:
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in row.cells.values())
    return f'<tr><th scope="row">{escape(row.name)}</th>{cells}<td>{escape(row.what)}</td></tr>\n'
