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

from benchmarks.analysis import frames
from benchmarks.analysis.table import build_from_runs
from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Record

SCHEMA = "1"
"""Version of the columns: raised when one changes its meaning or goes, not when one is added."""
FILES = {"candidates.parquet": "one row a candidate of a run", "tables.parquet": "one row a method and limit"}
DESCRIPTION = "croissant.json"
_TYPES = {"b": "sc:Boolean", "i": "sc:Integer", "f": "sc:Float"}
_TABLE_COLUMNS = {
    "quality": "mean of the deciding metric over seeds", "low": "lower end of its 95 % interval",
    "high": "upper end of its 95 % interval", "ratio": "latency over that of the reference network",
    "seeds": "number of seeds",
}  # fmt: skip


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
        data = {"candidates.parquet": frames.frame(kept), "tables.parquet": all_tables(kept)}
        for name, content in data.items():
            content.to_parquet(fresh / name, engine="pyarrow", index=False)
        text = json.dumps(describe(fresh, data), indent=1, ensure_ascii=False) + "\n"
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
    for number, group in enumerate(frames.groups(kept), 1):
        rows = build_from_runs(group, None).rows.drop(columns="energy_sources")
        facts = {name: group[0].facts[name] for name in ("task", "tier", "profile")}
        parts.append(rows.assign(table=number, **facts).astype({"limit": str}).convert_dtypes())
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"table": []})


def describe(folder: Path, data: dict[str, pd.DataFrame]) -> JsonObject:
    """Return the Croissant description of the files in a folder."""
    return {
        "@context": {
            "@vocab": "https://schema.org/",
            "sc": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "dct": "http://purl.org/dc/terms/",
            "conformsTo": "dct:conformsTo",
            "citeAs": "cr:citeAs",
            "column": "cr:column",
            "data": {"@id": "cr:data", "@type": "@json"},
            "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
            "extract": "cr:extract",
            "field": "cr:field",
            "fileObject": "cr:fileObject",
            "recordSet": "cr:recordSet",
            "source": "cr:source",
        },
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "supernet-bench-results",
        "description": "Runs of methods that search for efficient Transformers inside a supernet",
        "version": f"{SCHEMA}.0.0",
        "license": "https://spdx.org/licenses/MIT",
        "creator": {"@type": "sc:Organization", "name": f"supernet-bench {version('supernet-bench')}"},
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
    meanings = {**_TABLE_COLUMNS, **frames.COLUMNS} if own == "candidates" else _TABLE_COLUMNS
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
                "description": meanings.get(str(column), str(column)),
                "dataType": _TYPES.get(content[column].dtype.kind, "sc:Text"),
                "source": {"fileObject": {"@id": name}, "extract": {"column": str(column)}},
            }
            for column in content.columns
        ],
    }
