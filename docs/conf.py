"""Sphinx, for `make docs`: these pages read as well on their own, as Markdown."""

project = "pruning-study"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["build"]
html_theme = "furo"
html_title = "pruning-study"
# The servers of these turn programs away.
linkcheck_ignore = [r"https://image-net\.org", r"https://www\.image-net\.org"]
