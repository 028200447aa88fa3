"""A sweep on a Slurm cluster, through submitit: which cells a job takes, what was sent, how it stands."""
