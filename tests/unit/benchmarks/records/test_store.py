"""The result record: what it refuses, what its digests cover, and a store that only grows."""

import hashlib
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.api import InvalidRecordError
from benchmarks.records import integrity, store
from benchmarks.records.canonical import canonical
from benchmarks.stats import task_units
from tests.fake_records import fake


def edit(record, path, value):
    """A deep copy with one field replaced, digests left as they were."""
    copy = json.loads(json.dumps(record))
    *keys, last = path
    inner = copy
    for key in keys:
        inner = inner[key]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return copy


def field(path):
    """The field with a hash of its own that a path lies in, as a message writes it."""
    if path[0] == "candidates":
        return f"candidates[{path[1]}].{path[2]}"
    return ".".join(part for part in path[:2] if isinstance(part, str))


def leaves(value, path=()):
    """The path of every value that has no parts."""
    if not (isinstance(value, dict | list) and value):
        return [path]
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [leaf for key, part in parts for leaf in leaves(part, (*path, key))]


def unsealed_fields(record):
    """As records were before each field had its hash."""
    old = {k: v for k, v in record.items() if k not in ("seals", "seal")}
    return old | {"seal": hashlib.sha256(canonical(old)).hexdigest()}


def test_a_written_record_is_read_back_as_it_was(tmp_path: Path):
    record = fake()
    path = store.write(tmp_path, record)
    assert path == tmp_path / "mt-multi30k-en-de" / "cpu-2core-avx512.v1" / "hat" / f"{record['id']}.json"
    assert store.load(path) == record
    assert store.load_all(tmp_path) == [record]
    assert not list(tmp_path.rglob("*.tmp"))
    assert store.load_all(tmp_path / "absent") == []


def test_the_id_is_the_content_of_the_spec_alone():
    assert fake(seed=1)["id"] == fake(seed=1, message="other")["id"]
    assert fake(seed=1)["id"] != fake(seed=2)["id"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("candidates", 0, "latency", "p50"), 1.0),
        (("candidates", 0, "memory", "peak_bytes"), 7),
        (("candidates", 0, "limit_ms"), 1.5),
        (("candidates", 0, "spent", "seconds"), 0.1),
        (("candidates", 0, "at"), 0.1),
        (("energy", "joules"), 1.0),
        (("ledger", "totals", "seconds"), 1.0),
        (("ledger", "timeline"), []),
        (("ledger", "lost_seconds"), 9.0),
        (("provenance", "started"), "2027-01-01T00:00:00+00:00"),
    ],
)
def test_times_and_energy_leave_the_digest_alone_but_not_the_seal(path, value):
    record = fake()
    other = edit(record, path, value)
    assert integrity.digest(other) == record["digest"]
    assert integrity.seal(other)["seal"] != record["seal"]
    with pytest.raises(InvalidRecordError, match=f"field {re.escape(field(path))}: changed after writing"):
        integrity.validate(other)
    with pytest.raises(InvalidRecordError, match="field seal: .* changed after writing"):
        integrity.validate(edit(unsealed_fields(record), path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("candidates", 0, "test", "pooled", "bleu", "value"), 99.0),
        (("candidates", 0, "weights_sha256"), "0" * 64),
        (("provenance", "commit"), "1" * 40),
        (("status",), "budget"),
    ],
)
def test_all_other_fields_are_in_the_digest(path, value):
    with pytest.raises(InvalidRecordError, match=f"field {re.escape(field(path))}: changed after writing"):
        integrity.validate(edit(fake(), path, value))
    with pytest.raises(InvalidRecordError, match="field digest: .* changed after writing"):
        integrity.validate(edit(unsealed_fields(fake()), path, value))


@settings(max_examples=150)
@given(st.sampled_from(leaves(fake(limits=(0.5,)))), st.data())
def test_any_single_change_of_any_leaf_is_named(path, data):
    record = fake(limits=(0.5,))
    old = record
    for key in path:
        old = old[key]
    kinds = st.one_of(st.integers(0, 9), st.floats(0, 1), st.text(max_size=3), st.none(), st.just(KeyError))
    value = data.draw(kinds.filter(lambda v: v is KeyError or canonical(v) != canonical(old)))
    with pytest.raises(InvalidRecordError) as caught:
        integrity.validate(edit(record, path, value))
    # A value of the wrong kind is named by the schema; a hash that was changed, with what it is of.
    parents = {path[1], "seals"} if path[0] == "seals" else {field(path), path[0], *map(str, path[-2:])}
    assert str(caught.value).startswith("field ")
    assert any(name in str(caught.value) for name in parents if name)
    if path[0] not in ("seals", "schema", "id", "digest", "seal") and "changed after" in str(caught.value):
        assert field(path) in str(caught.value)


def test_a_record_from_before_each_field_had_its_hash_is_valid():
    old = unsealed_fields(fake())
    assert "seals" not in old
    integrity.validate(old)
    assert integrity.digest(old) == fake()["digest"]


def test_a_changed_spec_no_longer_fits_the_id():
    with pytest.raises(InvalidRecordError, match=r"field spec\.seed: changed after writing"):
        integrity.validate(edit(fake(), ("spec", "seed"), 7))
    with pytest.raises(InvalidRecordError, match="field id: "):
        integrity.validate(edit(unsealed_fields(fake()), ("spec", "seed"), 7))


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("schema",), "supernet-bench/record/9", r"field schema: .*this version reads"),
        (("spec", "task"), "../../etc", r"field spec\.task"),
        (("spec", "method"), "a/b", r"field spec\.method"),
        (("spec", "budget", "tokens"), -1, r"field spec\.budget\.tokens"),
        (("spec", "budget", "probes"), KeyError, r"field spec\.budget: 'probes' is a required property"),
        (
            ("candidates", 1, "valid", "loss"),
            "low",
            r"field candidates\[1\]\.valid\.loss: 'low' is not of type",
        ),
        (("candidates", 0, "latency", "n"), 1.5, r"field candidates\[0\]\.latency"),
        (("candidates", 0, "weights_sha256"), "xyz", r"field candidates\[0\]\.weights_sha256"),
        (
            ("candidates", 0, "test"),
            None,
            r"field candidates\[0\]\.test: missing, but the run's status is done",
        ),
        (("candidates",), [], r"field candidates: a run that is done"),
        (("ledger", "totals", "tokens"), 5.0, r"field ledger\.totals\.tokens: 5 but the entries sum to"),
        (("status",), "failed", r"field message: a failed run needs a message"),
        (("status",), "won", r"field status"),
        (("energy", "joules"), math.inf, r"field energy\.joules: inf is not a finite number"),
        (("energy", "joules"), 10**400, r"field energy\.joules: 10+\.\.\. is not a finite number"),
        (("message",), "\ud800", r"field message: .* is not valid Unicode"),
        (("provenance", "versions"), {"\udfff": "1"}, r"field provenance\.versions: .* is not valid Unicode"),
    ],
)
def test_an_invalid_field_is_named(path, value, field):
    with pytest.raises(InvalidRecordError, match=field):
        integrity.validate(edit(fake(), path, value))


@pytest.mark.parametrize("nonsense", [None, 3, [], "text", {}, {"schema": integrity.SCHEMA}])
def test_nonsense_is_refused(nonsense):
    with pytest.raises(InvalidRecordError):
        integrity.validate(nonsense)


def test_two_candidates_with_one_index_are_refused():
    record = edit(fake(), ("candidates", 1, "index"), 0)
    with pytest.raises(InvalidRecordError, match="same index"):
        integrity.validate(record)


def test_nan_becomes_null_and_figures_of_numpy_plain_ones():
    record = fake("diverged", limits=(0.5,))
    record["candidates"][0]["valid"]["loss"] = math.nan
    record["candidates"][0]["cost"]["params"] = np.int64(5)
    record["message"] = "bad \udc80 byte"
    sealed = integrity.seal(record)
    integrity.validate(sealed)
    assert sealed["candidates"][0]["valid"]["loss"] is None
    assert sealed["candidates"][0]["cost"]["params"] == 5
    assert sealed["message"] == "bad ? byte"


def test_sealing_something_incomplete_names_the_field():
    record = fake()
    del record["ledger"]
    with pytest.raises(InvalidRecordError, match="ledger"):
        integrity.seal(record)


@pytest.mark.parametrize("cut", [0, 1, 100, -200, -2])
def test_a_truncated_file_is_named_with_the_remedy(tmp_path: Path, cut: int):
    path = store.write(tmp_path, fake())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InvalidRecordError) as caught:
        store.load(path)
    assert str(path) in str(caught.value)
    assert "truncated or not JSON" in str(caught.value)
    assert "move the file away" in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b"NaN", b'{"a": 1e999}', b"1" * 5000])
def test_a_corrupt_file_is_one_message(tmp_path: Path, content: bytes):
    path = tmp_path / "0123456789abcdef.json"
    path.write_bytes(content)
    with pytest.raises(InvalidRecordError, match="0123456789abcdef"):
        store.load(path)


def test_a_tampered_file_names_file_field_and_command(tmp_path: Path):
    path = store.write(tmp_path, fake("mos-neuron"))
    path.write_text(path.read_text().replace('"p50": ', '"p50": 1'))
    with pytest.raises(InvalidRecordError) as caught:
        store.load(path)
    told = str(caught.value)
    assert str(path) in told and "field candidates[0].latency, candidates[1].latency" in told
    assert "supernet-bench run mt --task mt-multi30k-en-de --tier small --methods mos-neuron" in told


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path):
    path = tmp_path / "0123456789abcdef.json"
    record = edit(fake(), ("spec", "task"), "\x1b[31mred")
    path.write_text(json.dumps(record))
    with pytest.raises(InvalidRecordError) as caught:
        store.load(path)
    assert "\x1b" not in str(caught.value)


def test_a_record_under_another_name_is_refused(tmp_path: Path):
    path = store.write(tmp_path, fake())
    moved = path.rename(path.with_name("0" * 16 + ".json"))
    with pytest.raises(InvalidRecordError, match="is not the file's name"):
        store.load(moved)


def test_a_missing_file_or_folder_is_one_message(tmp_path: Path):
    with pytest.raises(InvalidRecordError, match="cannot be read"):
        store.load(tmp_path / "absent.json")
    (tmp_path / "dir.json").mkdir()
    with pytest.raises(InvalidRecordError, match="cannot be read"):
        store.load(tmp_path / "dir.json")


def test_load_all_can_go_on_past_a_bad_file(tmp_path: Path):
    good, bad = fake(seed=1), store.write(tmp_path, fake(seed=2))
    store.write(tmp_path, good)
    bad.write_text("{")
    problems: list[str] = []
    assert store.load_all(tmp_path, problems) == [good]
    assert len(problems) == 1 and str(bad) in problems[0]
    with pytest.raises(InvalidRecordError):
        store.load_all(tmp_path)


def test_the_store_is_append_only(tmp_path: Path):
    first = fake()
    path = store.write(tmp_path, first)
    assert store.write(tmp_path, first) == path
    other = edit(first, ("message",), "something else")
    with pytest.raises(InvalidRecordError, match="append-only"):
        store.write(tmp_path, other)
    assert store.load(path) == first


def test_a_failed_record_is_kept_but_gives_way(tmp_path: Path):
    crash, done = fake(status="failed"), fake()
    path = store.write(tmp_path, crash)
    assert store.write(tmp_path, done) == path
    assert store.load_all(tmp_path) == [done]
    aside = path.with_name(f"{path.stem}.failed-1.json")
    assert store.load(aside) == crash


def test_an_unreadable_record_is_kept_but_gives_way(tmp_path: Path):
    path = store.write(tmp_path, fake())
    path.write_text("{")
    store.write(tmp_path, fake())
    assert path.with_name(f"{path.stem}.invalid-1.json").read_text() == "{"


def test_a_failing_write_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    store.write_text(path, "old")
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@settings(max_examples=50)
@given(st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_text_survives_sealing(message, versions):
    record = fake(status="budget", message=message or "x")
    record["provenance"]["versions"] = versions
    sealed = integrity.seal(record)
    integrity.validate(json.loads(json.dumps(sealed)))


def test_units_of_the_task_are_in_the_seal_and_not_in_the_digest():
    without = fake("hat")
    record = integrity.seal(without | {"units": task_units.TRANSLATION.to_dict()})
    assert record["digest"] == without["digest"] and record["seal"] != without["seal"]
    wrong = record["units"] | {"metric": "ter"}
    with pytest.raises(InvalidRecordError, match="field units.metric: 'ter': not among the metrics"):
        integrity.validate(integrity.seal(record | {"units": wrong}))


@pytest.mark.parametrize(
    ("status", "message", "stated", "expected"),
    [
        ("budget", "", "seconds", True),
        ("budget", "seconds: the allowance is spent", "tokens", False),
        ("done", "", "seconds", False),
        ("failed", "seconds: x", None, False),
        ("budget", "seconds: the allowance is spent", None, True),
        ("budget", "trial 12: seconds: the allowance is spent", None, True),
        ("budget", "did not stop and was killed", None, True),
        ("budget", "trial 2: did not stop", None, True),
        ("budget", "evaluations: asked for 1, 0 left", None, False),
        ("budget", "milliseconds: x", None, False),
    ],
)
def test_the_stop_of_a_search_is_its_field_or_in_older_messages(status, message, stated, expected):
    record = {"status": status, "message": message} | ({} if stated is None else {"stopped_by": stated})
    assert store.stopped_by_seconds(record) is expected


def test_a_record_above_the_limit_is_never_written_and_its_largest_part_is_named(tmp_path: Path):
    record = fake()
    record["message"] = "x" * (store.LARGEST + 1)
    with pytest.raises(InvalidRecordError, match=r"at most 1,048,576: [\d,]+ in message"):
        store.write(tmp_path, record)
    assert not list(tmp_path.rglob("*.*"))
    record["message"] = "x" * (store.LARGEST - 100_000)
    assert store.load(store.write(tmp_path, record))["message"] == record["message"]


@pytest.mark.parametrize("named", [{}, {"tier": None}, {"tier": 3, "method": ["a"]}, {"task": "a\nb"}])
def test_a_record_without_a_method_name_is_refused_with_its_other_names(tmp_path: Path, named: dict):
    record = integrity.seal(fake())
    record["spec"] = {"suite": "mt", "method": "hat", **named}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(InvalidRecordError, match="make it again: supernet-bench run mt"):
        store.load(path)
    problems: list[str] = []
    (tmp_path / f"{'a' * 16}.json").write_text(json.dumps(record))
    assert store.load_all(tmp_path, problems) == [] and len(problems) == 1


def test_a_signal_after_the_rename_of_a_write_is_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write_text(tmp_path / "file", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_records_that_gave_way_are_numbered_one_after_the_other(tmp_path: Path):
    for message in ("first", "second", "third"):
        path = store.write(tmp_path, fake(status="failed", message=message))
    names = [path.with_name(f"{path.stem}.failed-{number}.json") for number in (1, 2)]
    assert [store.load(name)["message"] for name in names] == ["first", "second"]
    assert len(list(path.parent.iterdir())) == 3


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda handle: (calls.append("fsync"), sync(handle)))
    monkeypatch.setattr("os.replace", lambda *a: (calls.append("replace"), replace(*a)))
    store.write_text(tmp_path / "file", "text")
    assert calls == ["fsync", "replace"] and (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_file_of_the_largest_size_is_read_and_a_larger_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = store.write(tmp_path, fake())
    monkeypatch.setattr(store, "LARGEST", path.stat().st_size)
    assert store.load(path) == fake() and store.write(tmp_path / "other", fake()).is_file()
    monkeypatch.setattr(store, "LARGEST", path.stat().st_size - 1)
    with pytest.raises(InvalidRecordError, match="larger than"):
        store.load(path)


def test_a_file_without_a_spec_is_made_again_by_the_commands_own_words(tmp_path: Path):
    for content in ("[1, 2]", '{"spec": 3}', "nothing"):
        (tmp_path / "file.json").write_text(content)
        with pytest.raises(InvalidRecordError, match="type the run's command again"):
            store.load(tmp_path / "file.json")


def test_records_are_ordered_by_task_profile_method_and_seed(tmp_path: Path):
    kinds = [("a", "hat", 2), ("a", "hat", 11), ("a", "scratch", 1), ("b", "hat", 1)]
    for profile, method, seed in reversed(kinds):
        store.write(tmp_path, fake(method, seed, profile=profile))
    specs = [record["spec"] for record in store.load_all(tmp_path)]
    assert [(spec["profile"], spec["method"], spec["seed"]) for spec in specs] == kinds
