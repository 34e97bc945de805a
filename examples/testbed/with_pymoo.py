"""pymoo's SPEA2 on a table, and its curve beside our searchers'."""

import numpy as np
from pymoo.algorithms.moo.spea2 import SPEA2
from pymoo.core.problem import Problem
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling

from simq.tabular.testbed import open_testbed, ours, plot

bed = open_testbed("simq-vit", evaluations=100)
problem = Problem(n_var=len(bed.levels), n_obj=2, xl=0, xu=np.array(bed.levels) - 1, vtype=int)
searcher = SPEA2(pop_size=20, sampling=IntegerRandomSampling(), repair=RoundingRepair())
searcher.setup(problem, seed=1)
while bed.remaining >= 20:
    asked = searcher.ask()
    asked.set("F", np.array([bed.tell(np.round(x).astype(int)) for x in asked.get("X")]))
    searcher.tell(infills=asked)
plot({"spea2": bed.curve(), **ours("simq-vit", evaluations=100, seeds=1)}, "testbed-pymoo.png")
