"""Reports of a period: one JSON document (build.py), and what people read, made of nothing but that."""
