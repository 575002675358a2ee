"""How the API is served: sockets, connections, and what is around every request."""
