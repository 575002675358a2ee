"""Runs as transient units of systemd: each as its own user, in a control group of its own, with its GPUs alone."""
