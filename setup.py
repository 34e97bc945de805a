"""Build step: the wheel carries the published records, packed into one file."""

import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
PACKED = "benchmarks/records/published.zip"
PARTS = ("records", "verified", "runtimes", "studies")
"""Folders of ``results`` that commands read."""
KINDS = (".json", ".png")
"""Ends of their files' names: records and verdicts, and the pictures that pages show of studies."""


class BuildWithRecords(build_py):
    """The usual build, and the records where the source tree has them."""

    def run(self) -> None:
        """Build the packages; pack the records unless this is an editable install."""
        super().run()
        results = HERE / "results"
        if self.editable_mode or not results.is_dir():
            return
        target = Path(self.build_lib) / PACKED
        target.parent.mkdir(parents=True, exist_ok=True)
        files = sorted(path for part in PARTS for path in (results / part).rglob("*") if path.suffix in KINDS)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in files:
                entry = zipfile.ZipInfo(path.relative_to(results).as_posix())  # dated 1980
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())


setup(cmdclass={"build_py": BuildWithRecords})
