"""A published method under external tuning: HAT with each way of finishing its winners.

Try it: supernet-bench run mt --ruleset external --methods ./examples/tuned_hat.py:TunedHAT
"""

from baselines.hat import HAT


class TunedHAT(HAT):
    """Three trials with a whole allowance each, all of it charged; validation chooses."""

    name = "hat-tuned"
    summary = "HAT, its winners trained anew, trained on, or left as they are"
    trials = ({"after": "scratch"}, {"after": "continue"}, {"after": "inherit"})
