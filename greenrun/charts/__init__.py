"""Every chart: for a browser drawn by Plotly, for a terminal with characters."""
