"""The settings of a lesson, as its stage has them."""

from typing import TypeVar

from inkstone.train.config_teach import TeachConfig
from inkstone.train.method import Lesson

C = TypeVar("C", bound=TeachConfig)


def settings_of(lesson: Lesson, kind: type[C]) -> C:
    """The lesson's settings, of the kind that the method's stage has."""
    assert isinstance(lesson.config, kind)
    return lesson.config
