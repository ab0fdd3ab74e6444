"""How deep in a model each parameter lies: what is frozen and slowed down goes by it."""

from torch import nn

from inkstone.nn.models.base import Model


def parameter_depths(model: Model) -> dict[str, int]:
    """Name → depth: 0 for embeddings, 1 … N for the parameters of N blocks, N + 1 for what comes after them.

    A matrix that is embedding and output layer in one is an embedding. In an encoder–decoder the decoder's blocks
    follow the encoder's.
    """
    blocks = list(model.blocks)
    of_blocks = {
        id(parameter): depth for depth, block in enumerate(blocks, start=1) for parameter in block.parameters()
    }
    tables = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    depths = {}
    for name, parameter in model.named_parameters():
        embedding = id(parameter) in tables or "embed" in name  # BERT normalizes its embeddings, too
        depths[name] = of_blocks.get(id(parameter), 0 if embedding else len(blocks) + 1)
    return depths
