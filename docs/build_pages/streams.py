"""Outputs of executed cells as the command wrote them.

``%%bash`` passes on a command's output in pieces of 100 characters. myst-nb (1.4) ends each piece with a line
break when it merges them, in the middle of words.
"""

from __future__ import annotations

from nbformat import NotebookNode


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs with one piece for each stream, at the place of its first."""
    kept: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in outputs:
        if output["output_type"] != "stream":
            kept.append(output)
        elif output["name"] in streams:
            streams[output["name"]]["text"] += output["text"]
        else:
            streams[output["name"]] = output
            kept.append(output)
    return kept
