"""The HTTP interface: JSON over a unix socket for people's jobs, and read-only metrics over loopback for Prometheus."""
