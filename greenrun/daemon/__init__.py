"""The composition root: every part built from the settings, and the process around the engine."""
