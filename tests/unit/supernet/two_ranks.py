"""Program that ``torchrun`` starts in ``test_train``: fit once straight, once interrupted and resumed."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from tests.unit.supernet.test_train import Interrupted, Store, ranked


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    trainer, stream = ranked(rank, world)
    trainer.fit(stream)
    np.save(folder / f"straight-{rank}.npy", trainer.flat.detach().numpy())
    store = Store(stop=3)
    trainer, stream = ranked(rank, world)
    try:
        trainer.fit(stream, store)
    except Interrupted:
        trainer, stream = ranked(rank, world)
        trainer.fit(stream, store)
        np.save(folder / f"resumed-{rank}.npy", trainer.flat.detach().numpy())
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
