"""The routes, by subject; each reads the request, asks the daemon and answers with one of the models beside them."""
