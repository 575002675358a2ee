"""What depends on the terminal that somebody sits at: their zone, its width, its characters, and live screens."""
