"""Which class is taken for which."""

from collections.abc import Sequence

from webapp.figures.figure import Figure, figure

PALE = 0.1
"""The full color means at least this share of a row, so that one mistake in thirty does not look like a catastrophe."""


def confusion(
    matrix: Sequence[Sequence[int]], *, rows: str = "true class", columns: str = "predicted class", title: str = "Confusion"
) -> Figure:
    """Counts, rows against columns. The color is the share of the row, and the diagonal is left pale so that errors stand out."""
    size = len(matrix)
    totals = [sum(row) or 1 for row in matrix]
    shares = [[None if i == j else matrix[i][j] / totals[i] for j in range(size)] for i in range(size)]
    labels = [str(i) for i in range(size)]
    heat = {
        "type": "heatmap",
        "z": shares,
        "x": labels,
        "y": labels,
        "text": [[str(count) if count else "" for count in row] for row in matrix],
        "texttemplate": "%{text}",
        "customdata": [list(row) for row in matrix],
        "hovertemplate": f"{rows} %{{y}}, {columns} %{{x}}: %{{customdata}}",
        "colorscale": [[0, "rgba(213,94,0,0)"], [1, "rgba(213,94,0,0.85)"]],
        "zmin": 0,
        "zmax": max([PALE, *(share for row in shares for share in row if share is not None)]),
        "showscale": False,
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    return figure(
        [heat],
        title=title,
        x=columns,
        y=rows,
        xaxis={"type": "category", "side": "bottom", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
        annotations=[
            {"x": str(i), "y": str(i), "text": str(matrix[i][i]), "showarrow": False, "font": {"size": 11}, "opacity": 0.55}
            for i in range(size)
        ],
    )
