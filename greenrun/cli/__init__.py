"""The command line: a thin layer over the client, which starts fast."""
