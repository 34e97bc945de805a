"""AutoDistil (Xu et al., NeurIPS 2022): a supernet for each of few sub-spaces, distilled from a teacher."""

from __future__ import annotations

from collections.abc import Iterable

from baselines.hand_designed import load_teacher
from baselines.teacher import TaughtMethod
from benchmarks.api import Candidate, Lab, Need, Option
from supernet.elastic import SuperNet
from supernet.interop.bert_start import Parent, start_from
from supernet.pipeline import limit_tests, reachable_limits, train
from supernet.space import Architecture, get_space
from supernet.train import Sandwich, SinglePath
from supernet.train.distill import RelationDistillation


class AutoDistil(TaughtMethod):
    """Relation distillation into a supernet for each of K disjoint sub-spaces of homogeneous encoders.

    Each supernet starts from the teacher's leading rows and columns and learns the teacher's last
    self-attention relations without labels, under the sandwich rule with two random sub-networks. All
    sub-networks are ranked by that loss on held-out text.

    The paper fine-tunes at once. Here the parts that it leaves untrained, the masked-language-model head and
    the layers after the last attention, learn from the labels by default (its "continued training"), so that
    networks can be compared before fine-tuning too.
    """

    name = "autodistil"
    summary = "AutoDistil: K sub-spaces, relation distillation, sandwich, exhaustive task-agnostic ranking"
    options = (
        Option(
            "spaces", str, "several", choices=("several", "one"), help="one: the ablation over their union"
        ),
        Option("raw", bool, False, help="compare scores before the softmax, as the public code does"),
        Option("after", str, "continue", choices=("continue", "inherit"), help="training of winners"),
    )
    needs = (
        Need(
            "evaluations",
            {
                "bert-smoke": 17,
                "supershaper-smoke": 17,
                "supershaper-s": 17,
                "supershaper": 384,
                "mos-bert-v5.1": 384,
            },
            why="its ranking, in which each network of its sub-spaces is evaluated on a part of the text",
        ),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        settings = lab.task.settings["autodistil"]
        how, after = lab.options["spaces"], lab.options["after"]
        spaces = [get_space(name) for name in settings[how]]
        objective = RelationDistillation(load_teacher(lab), settings["relation_heads"], lab.options["raw"])
        unspent = lab.budget.left("tokens") / lab.budget.total("tokens")
        continued = settings["continued_share"] * unspent if after == "continue" else 0.0
        share = unspent - continued
        ranked: list[tuple[float, Architecture, SuperNet]] = []
        for i, space in enumerate(spaces):
            with lab.phase("supernet"):
                net = lab.supernet(space=space)
                start_from(net, Parent.of(lab.inherit()))
                train(lab, net, Sandwich(random=2), share / len(spaces), f"supernet-{i}", objective=objective)
            with lab.phase("search"):
                for architecture in space:
                    loss = lab.evaluate(net, architecture, objective, settings["ranked_on"]).loss
                    ranked.append((loss, architecture, net))
                    lab.progress(len(ranked), sum(s.size() for s in spaces), "ranking")
        winners = []
        union = get_space(settings["one"][0])
        limits, allowed = reachable_limits(lab, union), limit_tests(lab, union)
        for limit in limits:
            fits = allowed(limit)([architecture for _, architecture, _ in ranked])
            feasible = [(loss, a.key(), i) for i, (loss, a, _) in enumerate(ranked) if fits[i]]
            if not feasible:
                lab.say(f"no network of {', '.join(space.name for space in spaces)} meets {limit}")
                continue
            _, architecture, net = ranked[min(feasible)[2]]
            winners.append((limit, architecture, net))
            yield lab.candidate(net, architecture, origin="inherited", target=limit)
        for i, (limit, architecture, net) in enumerate(winners if after == "continue" else ()):
            with lab.phase("retrain"):
                factor = lab.task.settings["continue_rate"]
                own, part = net.collapse(architecture), continued / len(winners)
                trained = train(lab, own, SinglePath(), part, f"retrain-{i}", factor)
                yield lab.candidate(trained, architecture, origin="continued", target=limit)
