"""Tests in a real systemd: it is booted in namespaces of its own, over this machine's files, which it cannot change."""
