"""The Python of a guide, run as a reader would: one block after the other, in the current folder."""

import re
from pathlib import Path
from typing import Any


def run_python(guide: Path, num_blocks: int) -> dict[str, Any]:
    """Run the blocks of a page, of which there must be so many; returns the names that they leave."""
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == num_blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    return names
