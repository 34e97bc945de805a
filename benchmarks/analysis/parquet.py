"""Records and tables as Parquet files with a Croissant description (MLCommons, version 1.0)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from benchmarks.analysis import data_frames
from benchmarks.analysis.table import build_from_runs
from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Record
from benchmarks.stats import quantities

SCHEMA = "1"
"""Version of the columns: raised when one changes its meaning or goes, not when one is added."""
FILES = {"candidates.parquet": "one row a candidate of a run", "tables.parquet": "one row a method and limit"}
DESCRIPTION = "croissant.json"
_TYPES = {"b": "sc:Boolean", "i": "sc:Integer", "f": "sc:Float"}
CONTEXT: JsonObject = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        term: f"cr:{term}"
        for term in (
            "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty",
            "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path",
            "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
            "subField", "transform",
        )
    },
}  # fmt: skip
"""Terms of Croissant 1.0 in JSON-LD, all of them: readers expect the standard context."""
TABLE_COLUMNS = {
    "table": "number of the table; rows of one number may be compared",
    "task": "name of the task", "tier": "size of the task: data, networks and allowances",
    "profile": "hardware profile", "metric": "deciding metric of the task",
    "method": "search method with its options, and the origin of weights where it is not the product's",
    "of": "method whose run this is",
    "limit": "target of the search: share of the reference's latency, milliseconds or parameters",
    "limit_share": "that target as a share of the reference's latency",
    "limit_ms": "that target in milliseconds",
    "n": "number of seeds", "seeds": "those seeds, separated by spaces",
    "compared": "true for rows that are ranked and compared",
    "stopped": "true for runs that failed or were stopped",
    "origin": "training of the weights, such as inherited, continued or scratch",
    "precision": "precisions of the layers, such as fp32 + int8 dynamic",
    "status": "number of seeds and caveats, in words",
    "quality": "deciding metric on the sealed test split",
    "over": "share by which latency or size lies above the limit",
    "low": "lower end of the 95 % interval of quality", "high": "upper end of the 95 % interval of quality",
    "interval": "what the interval of quality is over: seeds, sentences or timings",
}  # fmt: skip
"""Column of ``tables.parquet`` -> its meaning, where ``quantities.FIGURES`` does not give it."""
_ENDS = {"low": "lower end of the 95 % interval", "high": "upper end of the 95 % interval"}


def meaning(column: str) -> str:
    """Return the meaning and unit of a column of ``tables.parquet``."""
    if column in TABLE_COLUMNS:
        return TABLE_COLUMNS[column]
    figure, _, end = column.rpartition("_")
    if end in _ENDS and figure:
        return f"{_ENDS[end]}: {meaning(figure)}"
    if end == "interval":
        return f"what the interval of {figure} is over: seeds, sentences or timings"
    quantity = quantities.of_column(column, quantities.of_metric("quality"))
    return f"mean over seeds of {quantity.name}" + (f", {quantity.unit}" if quantity.unit else "")


def export(kept: Sequence[Record], out: Path) -> list[Path]:
    """Write the files of ``FILES`` and their description into a new folder; return their paths.

    Raises:
        UsageError: pyarrow is not installed, or the folder exists and is not empty.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'supernet-bench[parquet]'") from None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"'{out}' exists and is not empty: name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        data = {"candidates.parquet": data_frames.frame(kept), "tables.parquet": all_tables(kept)}
        for name, content in data.items():
            content.to_parquet(fresh / name, engine="pyarrow", index=False)
        last = max((record["provenance"]["ended"] for record in kept), default="1970-01-01")[:10]
        text = json.dumps(describe(fresh, data, last), indent=1, ensure_ascii=False) + "\n"
        (fresh / DESCRIPTION).write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return [out / name for name in (*data, DESCRIPTION)]


def all_tables(kept: Sequence[Record]) -> pd.DataFrame:
    """Return the rows of every table, with its task, tier, profile and number."""
    parts = []
    for number, group in enumerate(data_frames.groups(kept), 1):
        rows = build_from_runs(group, None).rows.drop(columns="energy_sources")
        facts = {name: group[0].facts[name] for name in ("task", "tier", "profile")}
        parts.append(
            rows.assign(table=number, metric=group[0].metric, **facts).astype({"limit": str}).convert_dtypes()
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"table": []})


def describe(folder: Path, data: dict[str, pd.DataFrame], last: str) -> JsonObject:
    """Return the Croissant description of the files in a folder; ``last``: date of the newest run."""
    release = version("supernet-bench")
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "supernet-bench-results",
        "description": "Runs of methods that search for efficient Transformers inside a supernet",
        "version": f"{SCHEMA}.0.0",
        "datePublished": last,
        "citeAs": f"@software{{supernet-bench, title = {{supernet-bench}}, version = {{{release}}}}}",
        "license": "https://spdx.org/licenses/MIT",
        "creator": {"@type": "sc:Organization", "name": f"supernet-bench {release}"},
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "description": FILES[name],
                "contentUrl": name,
                "encodingFormat": "application/x-parquet",
                "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            }
            for name in data
        ],
        "recordSet": [_record_set(name, content) for name, content in data.items()],
    }


def _record_set(name: str, content: pd.DataFrame) -> JsonObject:
    own = name.removesuffix(".parquet")
    explain = data_frames.COLUMNS.__getitem__ if own == "candidates" else meaning
    return {
        "@type": "cr:RecordSet",
        "@id": own,
        "name": own,
        "description": FILES[name],
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{own}/{column}",
                "name": str(column),
                "description": explain(str(column)),
                "dataType": _TYPES.get(content[column].dtype.kind, "sc:Text"),
                "source": {"fileObject": {"@id": name}, "extract": {"column": str(column)}},
            }
            for column in content.columns
        ],
    }
