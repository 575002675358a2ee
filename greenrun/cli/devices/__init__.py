"""The commands about devices: what there is, and on which nothing is to be started."""
