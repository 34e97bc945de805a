"""Table profiles: devices that nobody here owns, as latencies that others measured and published.

A table is some 2,000 random architectures of HAT's latency space with measured encoder and decoder
latencies (Wang et al., ACL 2020, section 3.2; files of mit-han-lab/hardware-aware-transformers, MIT
licence). A predictor fitted on it stands for the device; ``benchmarks.tables`` measures how well.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tomllib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data
from benchmarks.api import UsageError
from supernet.predict import LatencyPredictor, features
from supernet.space import SearchSpace, seq2seq_space

Array = NDArray[np.float64]

UPSTREAM = (
    "https://raw.githubusercontent.com/mit-han-lab/hardware-aware-transformers/"
    "35d12828fb9e8e7a184adaa4caa187bef3a94be2/latency_dataset"
)


def latency_space() -> SearchSpace:
    """The space the tables were drawn from: HAT's WMT space with one more FFN width and head count.

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


@dataclass(frozen=True)
class TableProfile:
    """One device and task, measured by others.

    Attributes:
        device: as its authors call it.
        task: whose sentence length the measurement takes.
        tokens: source tokens and decoding steps of one measurement.
        stem: file name without ending; ours is ``published/hat_latency_<stem>.csv.gz``.
        sha256, size: of the uncompressed table, which is the upstream file byte for byte.
        public: root-mean-square error (ms) and mean relative error (%) of HAT's predictor on all
            rows, its training rows included.
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
    public: tuple[float, float]
    shipped: bool = True

    @property
    def file(self) -> str:
        """Path below the data folder."""
        return f"published/hat_latency_{self.stem}.csv.gz"

    @property
    def original(self) -> str:
        """The authors' name of the uncompressed table."""
        return f"{self.stem}_all.csv"

    @property
    def dataset(self) -> data.Dataset:
        """Where the authors publish it, by checksum."""
        files = {self.original: data.DataFile(self.sha256, self.size)}
        return data.Dataset("hat-latency", files, UPSTREAM, self.size, "latency tables of HAT, MIT licence")

    @property
    def signature(self) -> str:
        """How latency is defined: what one figure of the table is."""
        return (
            f"lat:mean|enc+dec|b:1|beam:5|src:{self.tokens}|steps:{self.tokens}|softmax:no|"
            f"trim:10%|dev:{self.device.replace(' ', '-').lower()}|by:HAT"
        )


def _read_profiles() -> dict[str, TableProfile]:
    tables = tomllib.loads(Path(__file__).with_name("tables.toml").read_text("utf-8"))
    return {
        name: TableProfile(name=name, **{**fields, "public": tuple(fields["public"])})
        for name, fields in tables.items()
    }


PROFILES = _read_profiles()


@dataclass(frozen=True)
class Table:
    """The rows of one table, in the order of its file, which is that of measurement.

    ``features [n, 10]`` equal ``latency_space().encode(arch)``; ``ms [n]`` is encoder plus decoder;
    ``repeat_std [n]`` the deviation over the repeats of a row, in milliseconds.
    """

    profile: TableProfile
    features: Array
    ms: Array
    repeat_std: Array

    def predictor(self) -> LatencyPredictor:
        """Fitted on all rows, for ``predict_ms``. Its error is the one that ``evaluate`` prints."""
        return LatencyPredictor.for_space(latency_space()).fit(self.features, self.ms)

    def predict_ms(self, predictor: LatencyPredictor, architectures: Iterable[Mapping[str, Any]]) -> Array:
        """Latency on this device of architectures of HAT's spaces, in milliseconds."""
        return predictor.predict(features(latency_space(), architectures))


def load(profile: TableProfile, data_dir: Path | None, say: data.Say = lambda line: None) -> Table:
    """Read and check one table.

    Args:
        profile: which.
        data_dir: folder with ``published/``; the authors' own ``<stem>_all.csv`` in it is read too.
            None fetches that one into the cache.
        say: told of a download.

    Raises:
        UsageError: the folder or the file is absent, cut short, or not what its checksum says.
    """
    if data_dir is None:
        fetched = data.fetch(profile.dataset, data.cache_folder() / "data" / profile.dataset.name, say)
        return parse(profile, fetched[profile.original].read_bytes())
    if not data_dir.is_dir():
        raise UsageError(
            f"no data folder '{data_dir}'\nname the one that holds published/: --data-dir FOLDER"
        )
    path = data_dir / profile.file
    if not path.is_file():
        path = data_dir / "published" / profile.original
    fetch_it = f"curl -L -o '{path.with_name(profile.original)}' {profile.dataset.url}/{profile.original}"
    if not path.is_file():
        raise UsageError(
            f"no table {profile.name}: '{data_dir / profile.file}' is absent\nfetch the original: {fetch_it}"
        )
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
        found = hashlib.sha256(content).hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        content, found = b"", f"an unreadable file ({error})"
    if found != profile.sha256:
        raise UsageError(
            f"'{path}' is damaged or cut short: its table should have sha256 {profile.sha256}, "
            f"found {found}\n"
            f"remove it and fetch the original: {fetch_it}"
        )
    return parse(profile, content)


def parse(profile: TableProfile, content: bytes) -> Table:
    """A table from its CSV text: ten averages, then mean and deviation of encoder and decoder."""
    rows = np.loadtxt(io.BytesIO(content), delimiter=",", skiprows=1)
    # The published averages are of the values themselves, and of 1, 2, 3 for the cross source.
    scales = np.array([choice.scale for choice in latency_space().choices], dtype=np.float64)
    return Table(
        profile, rows[:, :10] / scales, rows[:, 10] + rows[:, 11], np.hypot(rows[:, 12], rows[:, 13])
    )
