"""A reproducibility study of neural-network pruning: lottery tickets, SNIP and GraSP side by side."""
