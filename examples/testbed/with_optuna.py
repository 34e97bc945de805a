"""Optuna's NSGA-II on a table, and its curve beside our searchers': ``pip install optuna``."""

import optuna

from simq.tabular.testbed import open_testbed, ours, plot

bed = open_testbed("simq-vit", evaluations=100)
study = optuna.create_study(directions=["minimize"] * 2, sampler=optuna.samplers.NSGAIISampler(seed=1))
while bed.remaining:
    trial = study.ask()
    genome = [trial.suggest_int(f"gene {i}", 0, levels - 1) for i, levels in enumerate(bed.levels)]
    study.tell(trial, bed.tell(genome))
plot({"optuna": bed.curve(), **ours("simq-vit", evaluations=100, seeds=1)}, "testbed-optuna.png")
