"""Which KV blocks hold what: counting, sharing, finding again, forgetting. The tensors are the runner's."""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

NULL_BLOCK = 0
"""Stands where a sequence needs no block any more; nobody reads it."""


class KVBlocks:
    """Blocks of a paged cache (Kwon et al. 2023, arXiv:2309.06180), each with the number of sequences that use it.

    A full block can be registered under the hash of all tokens up to its end. It is then found by other sequences
    with the same beginning, also after its last user has gone: until its room is needed, the longest unused first.

    Args:
        num_blocks: besides the null block.
        block_size: tokens of a block.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._users = [0] * (num_blocks + 1)
        self._hash_of: list[bytes | None] = [None] * (num_blocks + 1)
        self._block_of: dict[bytes, int] = {}
        self._empty = list(range(num_blocks, NULL_BLOCK, -1))
        self._unused: OrderedDict[int, None] = OrderedDict()

    @property
    def num_free(self) -> int:
        """Blocks that nobody uses, what some of them remember included."""
        return len(self._empty) + len(self._unused)

    def allocate(self) -> int:
        """A block for one user, which has nothing in it; there must be a free one."""
        if self._empty:
            block = self._empty.pop()
        else:
            block, _ = self._unused.popitem(last=False)
            self._forget(block)
        self._users[block] = 1
        return block

    def retain(self, block: int) -> None:
        """Count one user more."""
        if block == NULL_BLOCK:
            return
        if self._users[block] == 0:
            del self._unused[block]
        self._users[block] += 1

    def release(self, block: int) -> None:
        """Count one user less."""
        if block == NULL_BLOCK:
            return
        assert self._users[block] > 0
        self._users[block] -= 1
        if self._users[block] > 0:
            return
        if self._hash_of[block] is None:
            self._empty.append(block)
        else:
            self._unused[block] = None

    def is_shared(self, block: int) -> bool:
        """Whether a writer needs a copy, because the block has other users."""
        return self._users[block] > 1

    def register(self, block: int, digest: bytes) -> None:
        """Let others find a full block by the hash of the tokens up to its end; the first of equal ones is found."""
        if digest not in self._block_of:
            self._block_of[digest] = block
            self._hash_of[block] = digest

    def find(self, digests: Sequence[bytes]) -> list[int]:
        """The blocks of the longest beginning that is remembered."""
        blocks: list[int] = []
        for digest in digests:
            block = self._block_of.get(digest)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _forget(self, block: int) -> None:
        digest = self._hash_of[block]
        assert digest is not None
        del self._block_of[digest]
        self._hash_of[block] = None


def block_digest(before: bytes, token_ids: Sequence[int]) -> bytes:
    """The hash of a block's tokens and of all before them, `before` being the hash up to the block's beginning."""
    return hashlib.blake2b(array("q", token_ids).tobytes(), key=before, digest_size=32).digest()


def root_digest(tenant: str, source_ids: Sequence[int]) -> bytes:
    """The hash before the first block: what else the keys and values depend on, and who may find them."""
    name = hashlib.blake2b(tenant.encode(), digest_size=32).digest()
    return hashlib.blake2b(array("q", source_ids).tobytes(), key=name, digest_size=32).digest()
