"""CSV files of intensities, prices and factors."""
