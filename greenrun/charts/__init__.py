"""All charts: for a browser drawn with Plotly, for a terminal with characters."""
