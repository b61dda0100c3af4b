"""Decisions as functions of state, input and now. No clock, loop, thread, socket or randomness in here."""
