"""`greenrun doctor`: look at everything that the daemon needs of this machine, and say what to do about the rest."""
