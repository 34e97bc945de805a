"""Problems of known answer for searchers, and a run whose result can be compared between processes."""

import sys

import numpy as np

from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace, PrecisionUnit
from supernet.space import Choice, SearchSpace


def space(layers: int = 6, least: int = 3) -> JointSpace:
    choices = [
        Choice("layers", tuple(range(least, layers + 1))),
        Choice("ffn", (1, 2, 4), layers, "layers"),
    ]
    units = [PrecisionUnit(f"l{i}", (f"l{i}",), "layers", i) for i in range(layers)] + [
        PrecisionUnit("head", ("head",))
    ]
    return JointSpace(SearchSpace("toy", choices), units, ("fp32", "int8"))


class Toy:
    """Loss falls with width and precision, with interactions; size grows with both."""

    objectives = ("loss", "size")

    def __init__(self, genes: JointSpace, seed: int = 0) -> None:
        self.genes: Genes = genes
        rng, count = np.random.default_rng(seed), int(genes.levels.sum())
        self.cost = rng.random(count) + 0.2
        self.gain = self.cost * (0.5 + rng.random(count))
        self.pairs = 0.05 * rng.standard_normal((count, count))

    def __call__(self, genomes: Genomes) -> Array:
        x = self.genes.features(genomes)
        loss = np.exp(-(x @ self.gain + np.einsum("ni,ij,nj->n", x, self.pairs, x)) / 5)
        return np.column_stack([loss, x @ self.cost])

    def known(self, genomes: Genomes) -> Array:
        """Nothing: both are measured."""
        return np.full((len(genomes), 2), np.nan)


class Sized(Toy):
    """The same, of which the size is counted."""

    def known(self, genomes: Genomes) -> Array:
        return np.where([True, False], np.nan, self(genomes))


def main() -> None:
    """Print what each searcher measures; equal under any PYTHONHASHSEED."""
    from simq.searchers.search import SEARCHERS

    for name in sys.argv[1:]:
        archive = Archive(Toy(space()), 40)
        SEARCHERS[name].make(population=15, inner=150).search(archive, np.random.default_rng(5))
        print(name, archive.genomes.tolist(), archive.rows.tolist())


if __name__ == "__main__":
    main()
