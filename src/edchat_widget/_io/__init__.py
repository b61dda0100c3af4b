"""Shells: sockets, files, processes and the thread. They decide nothing; `_core` does."""
