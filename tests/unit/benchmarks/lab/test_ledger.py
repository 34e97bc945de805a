"""The ledger refuses what passes the allowance, and its clock counts the method's seconds only."""

import math

import pytest

from benchmarks.api import BudgetExhausted
from benchmarks.lab.ledger import MOST_PHASES, TIMELINE_POINTS, Clock, Ledger

ALLOWANCE = {"tokens": 100, "evaluations": 10, "probes": 5, "seconds": 60}


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def ledger(time: Time) -> Ledger:
    return Ledger(ALLOWANCE, Clock(time))


def test_a_charge_that_would_pass_the_allowance_is_refused_whole(ledger: Ledger):
    ledger.charge("tokens", 60)
    with pytest.raises(BudgetExhausted) as refused:
        ledger.charge("tokens", 41)
    assert (refused.value.kind, refused.value.asked, refused.value.left) == ("tokens", 41, 40)
    assert ledger.spent("tokens") == 60
    ledger.charge("tokens", 40)
    assert ledger.left("tokens") == 0 and ledger.report()["share"]["tokens"] == 1


@pytest.mark.parametrize("kind", ["tokens", "evaluations", "probes"])
@pytest.mark.parametrize("allowance", [1, 60, 1_000_000])
def test_shares_of_an_allowance_sum_to_all_of_it(kind: str, allowance: float):
    for parts in range(1, 130):
        ledger = Ledger(ALLOWANCE | {kind: allowance}, Clock())
        for _ in range(parts):
            ledger.charge(kind, allowance / parts)
        assert ledger.left(kind) == pytest.approx(0, abs=1e-9 * allowance)
        assert ledger.report()["share"][kind] <= 1
        with pytest.raises(BudgetExhausted):
            ledger.charge(kind, 1e-9 * allowance)


def test_unequal_shares_sum_to_one_evaluation():
    for shares in ((0.1, 0.2, 0.7), (0.7, 0.2, 0.1), (0.6, 0.3, 0.1), (1 / 3, 1 / 6, 1 / 2)):
        ledger = Ledger(ALLOWANCE | {"evaluations": 1}, Clock())
        for share in shares:
            ledger.charge("evaluations", share)
        assert ledger.spent("evaluations") <= 1


def test_when_the_time_is_up_nothing_may_be_charged(ledger: Ledger, time: Time):
    time.now += 59.9
    ledger.charge("evaluations")
    time.now += 0.1
    with pytest.raises(BudgetExhausted) as refused:
        ledger.charge("evaluations")
    assert refused.value.kind == "seconds" and str(refused.value) == "seconds: the allowance is spent"


@pytest.mark.parametrize("amount", [math.nan, math.inf, -1])
def test_amounts_are_finite_and_not_negative(ledger: Ledger, amount: float):
    with pytest.raises(ValueError, match="finite number"):
        ledger.charge("predictor_calls", amount)


@pytest.mark.parametrize("kind", ["seconds", "joules", "updates", "money"])
def test_only_kinds_of_methods_can_be_charged(ledger: Ledger, kind: str):
    with pytest.raises(ValueError, match="cannot charge .* may charge tokens,") as refused:
        ledger.charge(kind, 1)
    allowed = str(refused.value).partition("may charge")[2]
    assert "seconds" not in allowed and "updates" not in allowed


def test_tallied_kinds_have_no_allowance(ledger: Ledger):
    ledger.charge("predictor_calls", 1e9)
    assert ledger.totals()["predictor_calls"] == 1e9
    with pytest.raises(ValueError, match="no allowance"):
        ledger.total("predictor_calls")


@pytest.mark.parametrize("kind", ALLOWANCE)
@pytest.mark.parametrize("amount", [0, -1])
def test_an_allowance_of_nothing_is_no_allowance(kind: str, amount: float, time: Time):
    with pytest.raises(ValueError, match=f"no allowance of {kind}"):
        Ledger({**ALLOWANCE, kind: amount}, Clock(time))


def test_charges_and_seconds_belong_to_their_phase(ledger: Ledger, time: Time):
    with ledger.in_phase("supernet"):
        ledger.charge("tokens", 30)
        time.now += 5
        with ledger.in_phase("inner"):
            time.now += 2
            ledger.charge("tokens", 3)
        time.now += 1
    time.now += 4
    booked = {(e["phase"], e["kind"]): e["amount"] for e in ledger.report()["entries"]}
    assert booked == {
        ("supernet", "tokens"): 30,
        ("inner", "tokens"): 3,
        ("supernet", "seconds"): 6,
        ("inner", "seconds"): 2,
        ("search", "seconds"): 4,
    }
    assert ledger.totals()["seconds"] == 12


def test_the_clock_stands_still_while_the_harness_works(time: Time):
    clock = Clock(time)
    time.now += 3
    with clock.pause("export"):
        assert clock.reason == "export"
        time.now += 100
        with clock.pause("inner"):
            time.now += 1
    time.now += 2
    assert clock.now() == clock.active == 5
    assert clock.off == {"export": 101} and clock.reason == ""


def test_a_restored_ledger_stands_where_it_was_saved(ledger: Ledger, time: Time):
    with ledger.in_phase("supernet"):
        ledger.charge("tokens", 30)
        time.now += 20
        state = ledger.state()
        ledger.charge("tokens", 30)
        time.now += 7
    later = Time()
    resumed = Ledger(ALLOWANCE, Clock(later))
    later.now += 0.5
    with resumed.in_phase("supernet"):
        resumed.restore(state)
        assert resumed.spent("tokens") == 30 and resumed.spent("seconds") == 20
        later.now += 7
        resumed.charge("tokens", 30)
    assert resumed.report()["totals"] == ledger.report()["totals"]
    assert sorted(map(str, resumed.report()["entries"])) == sorted(map(str, ledger.report()["entries"]))


def test_work_taken_over_advances_the_clock_and_never_turns_it_back(time: Time):
    clock = Clock(time)
    clock.advance(50)
    assert clock.now() == 50 and clock.active == 0
    time.now += 1
    clock.advance(30)
    assert clock.now() == 51


def test_the_timeline_stays_short(ledger: Ledger, time: Time):
    for _ in range(10 * TIMELINE_POINTS):
        with ledger.in_phase("a"):
            time.now += 1e-3
    assert len(ledger.timeline) <= 2 * TIMELINE_POINTS
    ats = [point["at"] for point in ledger.timeline]
    assert ats == sorted(ats)


def test_a_part_of_the_allowance_is_an_allowance_of_its_own(time: Time):
    ledger = Ledger(ALLOWANCE, Clock(time), parts=5)
    assert ledger.total("tokens") == 20
    ledger.charge("tokens", 15)
    with pytest.raises(BudgetExhausted):
        ledger.charge("tokens", 6)
    time.now += 12
    with pytest.raises(BudgetExhausted, match="seconds"):
        ledger.check_seconds()
    ledger.next_part()
    ledger.check_seconds()
    assert (ledger.left("tokens"), ledger.left("seconds"), ledger.spent("tokens")) == (20, 12, 0)
    ledger.charge("tokens", 20)
    # What the first part had left is lost, and the report is of all parts.
    report = ledger.report()
    assert (report["totals"]["tokens"], report["share"]["tokens"]) == (35, 0.35)
    assert report["timeline"][-1]["tokens"] <= 35


def test_an_unlimited_kind_has_spent_its_charges(ledger: Ledger):
    assert ledger.spent("predictor_calls") == 0
    ledger.charge("predictor_calls", 3)
    ledger.next_part()
    assert ledger.spent("predictor_calls") == 3


def test_points_of_the_timeline_are_a_second_apart_and_at_every_change_of_phase(ledger: Ledger, time: Time):
    for _ in range(8):
        ledger.charge("tokens", 1)
        time.now += 0.5
    assert [(point["at"], point["tokens"]) for point in ledger.timeline] == [(0, 1), (1, 3), (2, 5), (3, 7)]
    time.now += 0.1234567
    with ledger.in_phase("retrain"):
        ledger.charge("tokens", 1)
    assert ledger.timeline[4:] == [
        {"at": 4.123, "tokens": 8, "phase": "retrain"},
        {"at": 4.123, "tokens": 9, "phase": "search"},
    ]


def test_a_long_timeline_keeps_every_second_point_and_doubles_its_spacing(time: Time):
    ledger = Ledger({**ALLOWANCE, "tokens": 1e6, "seconds": 1e6}, Clock(time))
    for _ in range(2 * TIMELINE_POINTS):
        ledger.charge("tokens", 1)
        time.now += 1
    assert [point["at"] for point in ledger.timeline] == [*range(2 * TIMELINE_POINTS)]
    ledger.charge("tokens", 1)
    assert [point["at"] for point in ledger.timeline] == [*range(0, 2 * TIMELINE_POINTS + 1, 2)]
    assert len(ledger.timeline) == TIMELINE_POINTS + 1
    for _ in range(4):
        time.now += 1
        ledger.charge("tokens", 1)
    assert [point["at"] for point in ledger.timeline][-3:] == [2 * TIMELINE_POINTS + i for i in (0, 2, 4)]
    assert ledger.timeline[-1]["tokens"] == ledger.spent("tokens") == 2 * TIMELINE_POINTS + 5


def test_a_restored_timeline_goes_on_from_the_last_point(ledger: Ledger, time: Time):
    ledger.charge("tokens", 2)
    time.now += 5
    resumed = Ledger(ALLOWANCE, Clock(Time()))
    resumed.restore(ledger.state())
    resumed.charge("tokens", 1)
    assert [(point["at"], point["tokens"]) for point in resumed.timeline] == [(0, 2), (5, 3)]


def test_any_positive_allowance_will_do_and_none_may_be_missing(time: Time):
    assert Ledger({**ALLOWANCE, "probes": 0.5}, Clock(time)).left("probes") == 0.5
    with pytest.raises(ValueError, match="no allowance of probes"):
        Ledger({kind: amount for kind, amount in ALLOWANCE.items() if kind != "probes"}, Clock(time))


def test_a_charge_of_zero_is_allowed(ledger: Ledger):
    ledger.charge("tokens", 0)
    assert ledger.spent("tokens") == 0


def test_the_spacing_of_the_timeline_doubles_each_time(time: Time):
    ledger = Ledger({**ALLOWANCE, "tokens": 1e6, "seconds": 1e6}, Clock(time))
    for _ in range(8 * TIMELINE_POINTS + 1):
        ledger.charge("tokens", 1)
        time.now += 1
    ats = [point["at"] for point in ledger.timeline]
    assert len(ats) <= 2 * TIMELINE_POINTS and ats[0] == 0
    assert {later - earlier for earlier, later in zip(ats, ats[1:], strict=False)} == {8.0}
    assert TIMELINE_POINTS == 240, "records of all ages have as many points"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\ud800", "unnamed phase"),
        ("", "unnamed phase"),
        ("a\nb\x1b[31m", "a b [31m"),
        ("x" * 2**20, "x" * 61 + "..."),
        ("supernet", "supernet"),
    ],
)
def test_a_phase_has_a_short_printable_name(ledger: Ledger, time: Time, name: str, shown: str):
    with ledger.in_phase(name):
        time.now += 1
        assert ledger.phase == shown
    assert {entry["phase"] for entry in ledger.report()["entries"]} == {shown}


def test_a_method_that_makes_up_phases_without_end_fills_no_record(ledger: Ledger, time: Time):
    for number in range(3 * MOST_PHASES):
        with ledger.in_phase(f"step {number}"):
            time.now += 0.01
    entries = ledger.report()["entries"]
    assert len(entries) == MOST_PHASES + 1 and entries[-1]["phase"] == "further phases"
    assert sum(e["amount"] for e in entries) == pytest.approx(0.01 * 3 * MOST_PHASES)
