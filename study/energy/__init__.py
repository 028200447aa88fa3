"""Energy, and what it costs. Nothing here knows torch: the analysis reads it too."""
