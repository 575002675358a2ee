"""Tell people and programs what happened, through the hooks of the site; beside the ticks, which wait for none."""
