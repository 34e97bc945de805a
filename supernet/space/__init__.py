"""Search spaces: their choices, the architectures made of these, and the spaces that this project searches.

``get_space("hat-space0")`` returns a ``SearchSpace`` of the ``catalogue`` by name; a space of your own is
``SearchSpace(name, choices, constants)``. An ``Architecture`` is one point of a space. Needs no torch.
"""

from supernet.space.architecture import Architecture, ArchitectureLike, Choice, Value, layers_of
from supernet.space.catalogue import (
    HAT_FIELDS,
    SPACES,
    bottleneck_space,
    cell_space,
    from_hat,
    get_space,
    homogeneous_space,
    layered_space,
    resnet_space,
    seq2seq_space,
)
from supernet.space.search_space import SearchSpace

__all__ = [
    "HAT_FIELDS",
    "SPACES",
    "Architecture",
    "ArchitectureLike",
    "Choice",
    "SearchSpace",
    "Value",
    "bottleneck_space",
    "cell_space",
    "from_hat",
    "get_space",
    "homogeneous_space",
    "layered_space",
    "layers_of",
    "resnet_space",
    "seq2seq_space",
]
