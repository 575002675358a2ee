"""A report as a page for a browser and for paper."""
