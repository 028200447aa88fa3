"""Benchmarks of the study's speed: python -m scripts.benchmark --help."""
