"""The stages of this room, in the order of their use.

Inside `prepare` the order is: clean, guess the language, filter, drop exact duplicates, split. Identification of
languages, near-duplicates and personal data take their places in `data.prepare.STEPS`; crawling is another reader.
"""

from inkstone.data.collect import CollectConfig, collect
from inkstone.data.prepare import PrepareConfig, prepare

__all__ = ["CollectConfig", "PrepareConfig", "collect", "prepare"]
