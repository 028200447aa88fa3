"""Running a sweep: a queue of trainings, a pool of workers, and records as they finish."""
