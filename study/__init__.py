"""A reproducibility study of neural-network pruning: lottery tickets, SNIP and GraSP side by side.

For notebooks: every method by its name, for a module of one's own (study/api.py), and the records as tables:

    from study import apply, snip, records
"""

from importlib import import_module
from pathlib import Path
from typing import Any

_FRAMES = ("records", "curves")
_METHODS = [path.stem for path in (Path(__file__).parent / "methods").glob("*.py")]


def __getattr__(name: str) -> Any:
    """Found when first asked for: whoever reads records need not import torch."""
    if name in _FRAMES:
        return getattr(import_module("study.analysis.frames"), name)
    if name in ("apply", "prunable") or name in _METHODS:
        return getattr(import_module("study.api"), name)
    raise AttributeError(f"module 'study' has no attribute {name!r}")
