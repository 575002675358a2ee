"""What `greenrun demo` is made of: a made-up grid, eight jobs, a real daemon in a folder of its own, and two views."""
