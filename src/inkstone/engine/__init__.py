"""Generation for everybody at once: requests come and go, and every step computes all that are running together."""

from inkstone.engine.engine import Engine
from inkstone.engine.request import Output, Request

__all__ = ["Engine", "Output", "Request"]
