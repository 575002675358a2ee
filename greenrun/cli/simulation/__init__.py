"""What `greenrun simulate` reads: its files, and the site that its settings describe."""
