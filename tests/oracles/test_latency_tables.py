"""The latency predictor on eight tables of measurements by others (HAT's and SuperShaper's)."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.api import UsageError
from benchmarks.latency_tables import evaluation
from benchmarks.latency_tables.evaluation import (
    HEADER,
    PUBLIC_MARGIN,
    SINGLE_MARGIN,
    as_text,
    errors,
    evaluate,
    evaluate_tables,
    line,
    split,
)
from benchmarks.latency_tables.tables import PROFILES, LatencyTable, TableProfile, latency_space, load, parse
from benchmarks.tasks import datasets
from supernet.predict import LatencyPredictor
from supernet.space import from_hat

HATS = [name for name, profile in PROFILES.items() if profile.family.by == "HAT"]


@pytest.fixture(scope="module")
def tables(data_dir: Path) -> dict[str, LatencyTable]:
    if not (data_dir / "published").is_dir():
        pytest.skip(f"{data_dir / 'published'} is absent")
    return {name: load(profile, data_dir) for name, profile in PROFILES.items()}


@pytest.mark.parametrize("name", sorted(PROFILES))
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_held_out_error_keeps_both_bounds(tables: dict[str, LatencyTable], name: str, seed: int) -> None:
    row = evaluate(tables[name], splits=8, seed=seed)
    assert (row.fitted, row.held_out) == (500, len(tables[name].ms) - 500)
    if name in HATS:
        assert row.rmse <= PUBLIC_MARGIN * row.public_rmse
        assert row.mape <= PUBLIC_MARGIN * row.public_mape
        assert row.within >= row.splits - 1
    else:
        assert row.public_rmse is row.public_mape is None
    assert row.rmse <= SINGLE_MARGIN * row.single_rmse
    assert row.mape <= SINGLE_MARGIN * row.single_mape
    assert row.holds


@pytest.mark.parametrize("name", HATS)
def test_bounds_hold_on_average_over_wholly_random_splits(tables: dict[str, LatencyTable], name: str) -> None:
    # One such split alone may fall out by the luck of where the device's slow spells fell: on the
    # Raspberry Pi the root-mean-square error of a split varies by 3 %, whoever predicts.
    x, ms = tables[name].features, tables[name].ms
    ours, depth = [], []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(ms))
        a, b = order[:500], order[500:]
        ours.append(errors(LatencyPredictor((5,)).fit(x[a], ms[a]).predict(x[b]), ms[b]))
        depth.append(errors(line(x[a, 5], ms[a], x[b, 5]), ms[b]))
    mean, alone = np.mean(ours, axis=0), np.mean(depth, axis=0)
    assert np.all(mean <= PUBLIC_MARGIN * np.array(PROFILES[name].public))
    assert np.all(mean <= SINGLE_MARGIN * alone)


@pytest.mark.parametrize("name", HATS)
def test_residuals_are_noise(tables: dict[str, LatencyTable], name: str) -> None:
    row = evaluate(tables[name], splits=2)
    assert row.noise_rmse < row.floor_rmse
    assert row.rmse < 1.04 * row.floor_rmse
    if "titanxp" in name:
        # Drift of the device between one row and the next, and nothing about the architecture.
        assert row.noise_rmse > 0.85 * row.floor_rmse


@pytest.mark.slow
@pytest.mark.parametrize("name", HATS)
def test_boosted_trees_on_three_times_the_rows_do_no_better(
    tables: dict[str, LatencyTable], name: str
) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    x, ms = tables[name].features, tables[name].ms
    a, b = split(len(ms), 500, np.random.default_rng(4))
    ours, _ = errors(LatencyPredictor((5,)).fit(x[a], ms[a]).predict(x[b]), ms[b])
    trees = ensemble.GradientBoostingRegressor(
        n_estimators=200, learning_rate=0.04, subsample=0.5, min_samples_leaf=15, random_state=0
    )
    fold = np.random.default_rng(5).permutation(len(ms)) % 4
    cross_predict = np.empty_like(ms)
    for k in range(4):
        cross_predict[fold == k] = trees.fit(x[fold != k], ms[fold != k]).predict(x[fold == k])
    assert ours < 1.02 * errors(cross_predict[b], ms[b])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("table-titanxp-wmt14ende.v1", 200),
        ("table-titanxp-wmt19ende.v1", 200),
        ("table-titanxp-iwslt14deen.v1", 200),
    ],
)
def test_hats_recipe_refitted_gives_the_stated_public_error(
    tables: dict[str, LatencyTable], name: str, unit: float
) -> None:
    # The first is a shipped predictor's figure and shows that the refitted ones can stand for it.
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    x = tables[name].features * np.array([1, 1, 3072 / 2048, 8 / 6, 1, 1, 3072 / 2048, 8 / 6, 8 / 6, 3 / 2])
    ms = tables[name].ms
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(ms / unit, dtype=torch.float32)
    order = torch.randperm(len(ms))[: int(0.8 * len(ms))]
    widths = (10, 400, 400, 400, 400)
    layers = [
        layer
        for a, b in zip(widths, widths[1:], strict=False)
        for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())
    ]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(400, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-5)
    for _ in range(5000):
        batch = order[torch.randint(0, len(order), (128,))]
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(inputs[batch])[:, 0], targets[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        rmse, mape = errors(net(inputs)[:, 0].numpy() * unit, ms)
    assert rmse == pytest.approx(PROFILES[name].public[0], rel=0.03)
    # The relative error of a network this far from converged varies from seed to seed (6.5 to 8.2 % on the
    # IWSLT table): what counts is that the stated bar is not a lenient one.
    assert PROFILES[name].public[1] < 1.15 * mape


def test_depth_alone_comes_out_as_published(tables: dict[str, LatencyTable]) -> None:
    for name, rmse, mape in (
        ("table-titanxp-wmt14ende.v1", 15.5, 5.5),
        ("table-xeon-wmt14ende.v1", 19.2, 6.0),
        ("table-raspberrypi4-wmt14ende.v1", 778, 9.3),
    ):
        x, ms = tables[name].features, tables[name].ms
        found = errors(line(x[:, 5], ms, x[:, 5]), ms)
        assert found == pytest.approx((rmse, mape), rel=0.01)


def test_tables_predict_the_latencies_published_with_the_found_sub_networks(
    tables: dict[str, LatencyTable], data_dir: Path
) -> None:
    published = json.loads((data_dir / "published" / "hat_subtransformers.json").read_text())["sub_networks"]
    device = {"titanxp": "TITAN Xp", "xeon": "Xeon", "raspberrypi4": "Raspberry Pi"}
    off = []
    for name, table in tables.items():
        if name not in HATS:
            continue
        word = device[name.split("-")[1]]
        predictor = table.predictor()
        for row in published:
            facts = row["published"]
            if facts["task"].replace("WMT ", "WMT'") != table.profile.task or word not in facts["hardware"]:
                continue
            text = facts["latency"]
            ms = (
                float(text.removesuffix("ms"))
                if text.endswith("ms")
                else 1000 * float(text.removesuffix("s"))
            )
            arch = from_hat(latency_space(), row["architecture"])
            off.append(table.predict_ms(predictor, [arch])[0] / ms - 1)
    assert len(off) == 28
    assert np.abs(off).max() < 0.16
    assert np.abs(off).mean() < 0.08


def test_features_are_our_own_encoding(tables: dict[str, LatencyTable]) -> None:
    space = latency_space()
    for table in (tables[name] for name in HATS):
        assert table.features.shape == (2000, len(space.choices))
        assert table.features.max() <= 1
        depths = {space.encode({**space.largest(), **_depth(d)})[5] for d in range(1, 7)}
        assert set(np.round(table.features[:, 5], 9)) == set(np.round(list(depths), 9))
        assert 1 / 3 - 1e-9 <= table.features[:, 9].min()


def test_features_of_shapes_are_our_own_encoding(tables: dict[str, LatencyTable]) -> None:
    for name, rows in (("gtx1080ti", 2000), ("k80", 1000), ("xeon2core", 2000)):
        table = tables[f"table-{name}-supershaper.v1"]
        space = table.profile.family.space()
        assert table.features.shape == (rows, 13) and table.ms.shape == (rows,)
        for i, arch in ((0, space.smallest()), (1, space.largest())):  # their first two rows
            due = [*space.encode(arch), *space.encode(arch, "fine")]
            assert table.features[i] == pytest.approx(due)
        predictor = table.predictor()
        small, large = table.predict_ms(predictor, [space.smallest(), space.largest()])
        # The extremes were measured once each, on devices of which one drifts by a tenth.
        assert small == pytest.approx(table.ms[0], rel=0.15) and large == pytest.approx(table.ms[1], rel=0.15)
    assert tables["table-k80-supershaper.v1"].ms[0] == pytest.approx(773.276, abs=1e-3)  # seconds in the file


def test_the_cloud_xeons_spread_is_its_drift(tables: dict[str, LatencyTable]) -> None:
    row = evaluate(tables["table-xeon2core-supershaper.v1"], splits=2)
    assert row.noise_rmse > 0.85 * row.floor_rmse


def _depth(layers: int) -> dict[str, object]:
    names = ("decoder_ffn", "decoder_self_heads", "decoder_cross_heads", "decoder_cross_source")
    largest = latency_space().largest()
    return {"decoder_layers": layers, **{name: largest[name][:layers] for name in names}}


def test_checksums_are_those_of_the_manifest(data_dir: Path) -> None:
    manifest = data_dir / "MANIFEST.sha256"
    if not manifest.is_file():
        pytest.skip(f"{manifest} is absent")
    listed = {path: digest for digest, path in (line.split() for line in manifest.read_text().splitlines())}
    for profile in PROFILES.values():
        raw = (data_dir / profile.file).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == listed[f"./{profile.file}"]
        assert hashlib.sha256(gzip.decompress(raw)).hexdigest() == profile.sha256


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict every row by itself: for tests that look at no error."""
    monkeypatch.setattr(evaluation, "cross_predict", lambda table, rng: table.ms)


@pytest.mark.usefixtures("quick")
def test_the_printed_table_has_a_row_a_profile(data_dir: Path, tables: dict[str, LatencyTable]) -> None:
    rows = evaluate_tables(data_dir, splits=1)
    cells = as_text(rows)
    assert [row[0] for row in cells] == list(PROFILES)
    assert all(len(row) == len(HEADER) for row in cells)
    assert json.loads(json.dumps([row.to_dict() for row in rows]))[0]["profile"] == rows[0].profile


def test_split_takes_one_row_of_every_four() -> None:
    a, b = split(2000, 500, np.random.default_rng(0))
    assert sorted([*a, *b]) == list(range(2000))
    assert np.array_equal(a // 4, np.arange(500))
    assert not np.array_equal(a, split(2000, 500, np.random.default_rng(1))[0])


@pytest.fixture
def profile() -> TableProfile:
    return next(iter(PROFILES.values()))


def test_absent_data_is_refused_with_the_command_that_fetches_it(
    tmp_path: Path, profile: TableProfile
) -> None:
    with pytest.raises(UsageError, match="--data-dir"):
        load(profile, tmp_path / "nowhere")
    with pytest.raises(UsageError, match=f"curl .*{profile.stem}_all.csv"):
        load(profile, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "not gzip", "other content"])
def test_damaged_tables_are_refused(tmp_path: Path, profile: TableProfile, damage: str) -> None:
    path = tmp_path / profile.file
    path.parent.mkdir()
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    path.write_bytes(
        {"cut": whole[:-20], "empty": b"", "not gzip": b"<html>", "other content": whole}[damage]
    )
    with pytest.raises(UsageError, match="damaged or cut short.*\n.*fetch the original: curl"):
        load(profile, tmp_path)


@pytest.mark.parametrize("name", ["table-xeon-wmt14ende.v1", "table-k80-supershaper.v1"])
def test_tables_of_other_columns_or_figures_are_refused(name: str) -> None:
    profile = PROFILES[name]
    header, columns = profile.family.header, profile.family.header.count(",") + 1
    row = ",".join(["1"] * columns)
    assert len(parse(profile, f"{header}\n{row}\n".encode()).ms) == 1
    for text in (f"latency,{header}\n{row},1\n", "", f"{header[:-1]}\n{row}\n", f"h0;h1\n{row}"):
        with pytest.raises(UsageError, match=f"table {name} cannot be read: its columns are "):
            parse(profile, text.encode())
    for figures in (f"{row},1", row[:-2], row[:-1] + "nan", row[:-1] + "x", ""):
        with pytest.raises(UsageError, match=f"table {name} cannot be read"):
            parse(profile, f"{header}\n{figures}\n".encode())


def test_an_unreachable_table_is_one_message(tmp_path: Path) -> None:
    profile = PROFILES["table-k80-supershaper.v1"]
    with pytest.raises(UsageError, match="supershaper-latency cannot be fetched.*\n.*--data-dir"):
        load(profile, None)
    with pytest.raises(
        UsageError, match="no table table-k80-supershaper.v1: .* is absent\nput a whole copy there"
    ):
        load(profile, tmp_path)
    (tmp_path / "published").mkdir()
    (tmp_path / profile.file).write_bytes(gzip.compress(profile.family.header.encode()))
    with pytest.raises(UsageError, match="damaged or cut short.*\n.*remove it and put a whole copy there"):
        load(profile, tmp_path)


@pytest.mark.usefixtures("quick")
def test_unreachable_tables_may_be_absent(
    tmp_path: Path, data_dir: Path, tables: dict[str, LatencyTable]
) -> None:
    (tmp_path / "published").mkdir()
    for name in HATS:
        (tmp_path / PROFILES[name].file).symlink_to(data_dir / PROFILES[name].file)
    said: list[str] = []
    rows = evaluate_tables(tmp_path, splits=1, say=said.append)
    assert [row.profile for row in rows] == HATS
    assert len(said) == 3 and all("supershaper" in line_ for line_ in said)


def test_the_original_file_is_read_too(tmp_path: Path, data_dir: Path, profile: TableProfile) -> None:
    if not (data_dir / profile.file).is_file():
        pytest.skip("the published tables are absent")
    (tmp_path / "published").mkdir()
    text = gzip.decompress((data_dir / profile.file).read_bytes())
    (tmp_path / "published" / f"{profile.stem}_all.csv").write_bytes(text)
    assert np.array_equal(load(profile, tmp_path).ms, load(profile, data_dir).ms)


def test_without_a_folder_the_original_is_fetched_by_checksum(
    tmp_path: Path, data_dir: Path, profile: TableProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_dir / profile.file).is_file():
        pytest.skip("the published tables are absent")
    content = gzip.decompress((data_dir / profile.file).read_bytes())
    assert profile.size == len(content)
    asked: list[str] = []

    def download(url: str, path: Path, declared: datasets.DataFile) -> None:
        asked.append(url)
        path.write_bytes(content)
        assert not datasets.differs(path, declared)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(datasets, "_download", download)
    fresh, cached = load(profile, None), load(profile, None)
    assert np.array_equal(fresh.ms, load(profile, data_dir).ms)
    assert np.array_equal(cached.ms, fresh.ms)
    assert len(asked) == 1
    assert asked[0].endswith(f"/latency_dataset/{profile.stem}_all.csv")


@pytest.mark.parametrize(("fit", "splits"), [(4, 1), (1500, 1), (100, 0)])
def test_senseless_evaluations_are_refused(tables: dict[str, LatencyTable], fit: int, splits: int) -> None:
    with pytest.raises(UsageError, match="rows over"):
        evaluate(next(iter(tables.values())), fit=fit, splits=splits)
