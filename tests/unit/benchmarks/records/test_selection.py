"""Selection of the product among candidates of one limit."""

from typing import Any

import pytest

from benchmarks.records import selection
from tests.fake_records import fake


def candidate(index: int, origin: str, loss: float) -> dict[str, Any]:
    """A candidate of one limit; its index is the order in which it was made."""
    made = fake(limits=(0.5,))["candidates"][0]
    return made | {"index": index, "origin": origin, "valid": {"loss": loss, "bleu": None}}


@pytest.mark.parametrize(
    ("proposed", "product", "earlier"),
    [
        ([(0, "inherited", 2.0), (1, "scratch", 3.0)], 1, [0]),
        ([(1, "scratch", 3.0), (0, "inherited", 2.0)], 0, [1]),
        ([(1, "scratch", 2.0), (0, "inherited", 3.0)], 0, [1]),
        ([(2, "scratch", 2.0), (0, "inherited", 3.0), (1, "inherited", 2.5)], 1, [2]),
        ([(2, "inherited", 2.0), (1, "scratch", 1.0), (0, "inherited", 3.0)], 2, [1]),
        ([(5, "scratch", 2.0)], 5, []),
    ],
)
def test_the_product_is_of_the_origin_proposed_last(
    proposed: list[tuple[int, str, float]], product: int, earlier: list[int]
):
    candidates: Any = [candidate(*each) for each in proposed]
    assert selection.best_by_validation(candidates)["index"] == product
    products, others = selection.products_and_earlier(candidates)
    assert [c["index"] for c in products.values()] == [product]
    assert [c["index"] for _, c in others] == earlier
