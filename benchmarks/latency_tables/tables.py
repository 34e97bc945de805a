"""Table profiles: devices represented by latencies that others measured and published.

A table is a thousand or two random architectures of one space with their measured latencies: HAT's of
encoder-decoders (Wang et al., ACL 2020, section 3.2; files of mit-han-lab/hardware-aware-transformers, MIT
licence), SuperShaper's of encoders (Ganesan et al. 2021; files of iitm-sysdl/SuperShaper). A predictor fitted
on one stands for the device; ``benchmarks.latency_tables.evaluation`` measures how well.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tomllib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonView
from benchmarks.tasks import datasets
from supernet.predict import LatencyPredictor
from supernet.space import SearchSpace, get_space, seq2seq_space

Array = NDArray[np.float64]


def latency_space() -> SearchSpace:
    """Return the space the tables were drawn from: HAT's WMT space, one more FFN width and head count.

    The IWSLT table was drawn from it too.
    """
    return seq2seq_space(
        "hat-latency",
        embed=(640, 512),
        ffn=(3072, 2048, 1024, 512),
        heads=(8, 4, 2),
        qkv_dim=512,
        encoder_layers=6,
        decoder_layers=(6, 5, 4, 3, 2, 1),
    )


Rows = tuple[Array, Array, Array]
"""Columns of a table: features ``[n, k]``, ms ``[n]``, deviation of each row's repeats ``[n]``."""


def _hat(rows: Array) -> Rows:
    """Return the rows of a file of ten averages, then mean and deviation of encoder and decoder in ms."""
    # The published averages are of the values themselves, and of 1, 2, 3 for the cross source.
    scales = np.array([choice.scale for choice in latency_space().choices], dtype=np.float64)
    return rows[:, :10] / scales, rows[:, 10] + rows[:, 11], np.hypot(rows[:, 12], rows[:, 13])


def _supershaper(rows: Array) -> Rows:
    """Return the rows of a file of twelve widths and seconds; the spread of repeats was not kept."""
    widths = rows[:, :12] / get_space("supershaper").choices[0].scale
    return np.column_stack([widths.mean(axis=1), widths]), 1e3 * rows[:, 12], np.zeros(len(rows))


@dataclass(frozen=True)
class TableFamily:
    """Set of tables that were measured in one way over one space.

    Attributes:
        by: name of the authors' method.
        encodings: encodings of the space; concatenated they are a table's features.
        header: first line of a file.
        read: conversion of a file's figures to rows.
        size: name and column of the feature that explains most, through which the others act.
        mean_of: number of repeats that a latency is the mean of.
        prefix: beginning of our file names.
        original: name of the uncompressed file by its stem, the authors' own if ``url`` is given.
        url: address of the authors' folder with the same file byte for byte; None if theirs has another form.
        licence: licence of the data.
        signature: how latency is defined, with the profile's fields to be filled in.
    """

    by: str
    space: Callable[[], SearchSpace]
    encodings: tuple[str, ...]
    header: str
    read: Callable[[Array], Rows]
    size: tuple[str, int]
    mean_of: int
    prefix: str
    original: str
    url: str | None
    licence: str
    signature: str


FAMILIES = {
    "hat": TableFamily(
        by="HAT",
        space=latency_space,
        encodings=("aggr",),
        header="encoder_embed_dim,encoder_layer_num,encoder_ffn_embed_dim_avg,encoder_self_attention_heads_avg,"
        "decoder_embed_dim,decoder_layer_num,decoder_ffn_embed_dim_avg,decoder_self_attention_heads_avg,"
        "decoder_ende_attention_heads_avg,decoder_arbitrary_ende_attn_avg,latency_mean_encoder,"
        "latency_mean_decoder,latency_std_encoder,latency_std_decoder",
        read=_hat,
        size=("decoder layers", 5),
        mean_of=16,  # of 20 repeats the middle 80 %
        prefix="hat_latency_",
        original="{stem}_all.csv",
        url="https://raw.githubusercontent.com/mit-han-lab/hardware-aware-transformers/"
        "35d12828fb9e8e7a184adaa4caa187bef3a94be2/latency_dataset",
        licence="latency tables of HAT, MIT licence",
        signature="lat:mean|enc+dec|b:{batch}|beam:5|src:{tokens}|steps:{tokens}|softmax:no|trim:10%",
    ),
    "supershaper": TableFamily(
        by="SuperShaper",
        space=lambda: get_space("supershaper"),
        encodings=("aggr", "fine"),
        header=",".join([*(f"h{i}" for i in range(12)), "latency_s"]),
        read=_supershaper,
        size=("mean width", 0),
        mean_of=1,
        prefix="supershaper_latency_",
        original="supershaper_latency_{stem}.csv",
        url=None,
        licence="SuperShaper's latencies, no licence stated; their authors publish them in another form",
        signature="lat:mean|encoder|b:{batch}|len:{tokens}",
    ),
}
"""Families by their names in ``tables.toml``."""


@dataclass(frozen=True)
class TableProfile:
    """Device and task of one published table.

    Attributes:
        device: name that the authors give it.
        task: data set with the sentence length of the measurement.
        tokens: tokens of one sentence: source tokens and decoding steps, or the encoder's.
        stem: file name without beginning and ending; ours is ``published/<prefix><stem>.csv.gz``.
        sha256, size: digest and bytes of the uncompressed table.
        family: set of tables that it belongs to.
        batch: sentences of one measurement.
        public: root-mean-square error (ms) and mean relative error (%) of HAT's predictor on all
            rows, its training rows included; None if none is published.
        shipped: True where ``public`` is of the predictor that HAT ships, False where we refitted
            HAT's recipe on the table (mean of two seeds; on the other three tables that comes
            within 1 % of the shipped one's root-mean-square error).
    """

    name: str
    device: str
    task: str
    tokens: int
    stem: str
    sha256: str
    size: int
    family: TableFamily
    batch: int = 1
    public: tuple[float, float] | None = None
    shipped: bool = True

    @property
    def file(self) -> str:
        """Path below the data folder."""
        return f"published/{self.family.prefix}{self.stem}.csv.gz"

    @property
    def original(self) -> str:
        """Name of the uncompressed table."""
        return self.family.original.format(stem=self.stem)

    @property
    def dataset(self) -> datasets.Dataset:
        """Published file by address and checksum."""
        files = {self.original: datasets.DataFile(self.sha256, self.size)}
        family = self.family
        name = family.prefix.replace("_", "-").rstrip("-")
        return datasets.Dataset(name, files, family.url, self.size, family.licence)

    @property
    def signature(self) -> str:
        """Definition of one figure of the table, such as ``lat:mean|encoder|b:1|len:128``."""
        how = self.family.signature.format(batch=self.batch, tokens=self.tokens)
        return f"{how}|dev:{self.device.replace(' ', '-').lower()}|by:{self.family.by}"


def _read_profiles() -> dict[str, TableProfile]:
    tables = tomllib.loads(Path(__file__).with_name("tables.toml").read_text("utf-8"))
    profiles = {}
    for name, fields in tables.items():
        more = {"public": tuple(fields["public"])} if "public" in fields else {}
        profiles[name] = TableProfile(name=name, **{**fields, **more, "family": FAMILIES[fields["family"]]})
    return profiles


PROFILES = _read_profiles()


@dataclass(frozen=True)
class LatencyTable:
    """Rows of one table, in the order of its file, which is that of measurement.

    ``features [n, k]`` equal its space's encoding of each architecture; ``ms [n]``; ``repeat_std [n]`` the
    deviation over the repeats of a row, in milliseconds, zero where it was not kept.
    """

    profile: TableProfile
    features: Array
    ms: Array
    repeat_std: Array

    def blank(self) -> LatencyPredictor:
        """Return a predictor of this table's features, not yet fitted."""
        return LatencyPredictor([self.profile.family.size[1]])

    def predictor(self) -> LatencyPredictor:
        """Return a predictor fitted on all rows, for ``predict_ms``; ``evaluate`` gives its error."""
        return self.blank().fit(self.features, self.ms)

    def predict_ms(self, predictor: LatencyPredictor, architectures: Iterable[JsonView]) -> Array:
        """Return the latency of architectures of the table's space on this device, in milliseconds."""
        family = self.profile.family
        space = family.space()
        encoded = [
            np.concatenate([space.encode(a, kind) for kind in family.encodings]) for a in architectures
        ]
        return predictor.predict(encoded)


def absent(profile: TableProfile, data_dir: Path) -> bool:
    """Return whether a folder lacks the file of a table."""
    return not any((data_dir / place).is_file() for place in (profile.file, f"published/{profile.original}"))


def load(profile: TableProfile, data_dir: Path | None, say: datasets.Say = lambda line: None) -> LatencyTable:
    """Read and check one table.

    Args:
        profile: profile of the table.
        data_dir: folder with ``published/``; the uncompressed table in it (HAT: the authors' own
            ``<stem>_all.csv``) is read too. None fetches that one into the cache.
        say: called with a line for a download.

    Raises:
        UsageError: the folder or the file is absent, cut short, or not what its checksum states, or cannot be
            fetched.
    """
    if data_dir is None:
        fetched = datasets.fetch(
            profile.dataset, datasets.cache_folder() / "data" / profile.dataset.name, say
        )
        return parse(profile, fetched[profile.original].read_bytes())
    if not data_dir.is_dir():
        raise UsageError(
            f"no data folder '{data_dir}'\nname the one that holds published/: --data-dir FOLDER"
        )
    path = data_dir / profile.file
    if not path.is_file():
        path = data_dir / "published" / profile.original
    mend = f"put a whole copy there: {profile.family.licence}"
    if profile.family.url is not None:
        original = path.with_name(profile.original)
        mend = f"fetch the original: curl -L -o '{original}' {profile.family.url}/{profile.original}"
    if not path.is_file():
        raise UsageError(f"no table {profile.name}: '{data_dir / profile.file}' is absent\n{mend}")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(profile.size + 1)  # no more of it: its checksum is that of the unpacked table
        digest = hashlib.sha256(content).hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        content, digest = b"", f"an unreadable file ({error})"
    if digest != profile.sha256:
        raise UsageError(
            f"'{path}' is damaged or cut short: its table should have sha256 {profile.sha256}, "
            f"found {digest}\nremove it and {mend}"
        )
    return parse(profile, content)


def parse(profile: TableProfile, content: bytes) -> LatencyTable:
    """Return a table from its CSV text.

    Raises:
        UsageError: its columns are not those of its family, or a figure is none.
    """
    header, _, rest = content.partition(b"\n")
    columns, expected = header.decode("utf-8", "replace").strip(), profile.family.header
    try:
        if columns != expected:
            raise ValueError(f"its columns are {columns[:60]}..., not {expected[:60]}...")
        if not rest.strip():
            raise ValueError("it has no rows")
        rows = np.loadtxt(io.BytesIO(rest), delimiter=",", ndmin=2)
        if rows.shape[1:] != (expected.count(",") + 1,) or not np.isfinite(rows).all():
            raise ValueError(f"a row is not {expected.count(',') + 1} finite figures")
    except ValueError as error:
        raise UsageError(f"table {profile.name} cannot be read: {error}") from None
    return LatencyTable(profile, *profile.family.read(rows))
