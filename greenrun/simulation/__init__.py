"""Plays greenrun's own engine on recorded jobs and a recorded grid, in virtual time, beside the rules of its peers."""
