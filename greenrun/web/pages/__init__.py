"""The pages, by subject; each reads what it shows from the daemon and renders one template."""
