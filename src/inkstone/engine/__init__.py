"""Generation for everybody at once: requests come and go, and every step computes all that are running together."""
