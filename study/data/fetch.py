"""Fetch a data set, verify it and say where it lies: python -m study.data.fetch cifar10."""

import argparse
import sys

from study import data
from study.errors import StudyError


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 2 after one line on standard error that says what to do by hand."""
    parser = argparse.ArgumentParser(prog="python -m study.data.fetch", description=__doc__)
    parser.add_argument("dataset", choices=data.NAMES)
    name = parser.parse_args(arguments).dataset
    try:
        place = data.module(name).fetch()
        arrays = data.load(name)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{place}: {len(arrays.training):,} training and {len(arrays.test):,} test examples, verified")
    return 0


if __name__ == "__main__":
    sys.exit(main())
