"""The composition root: one module a process; every part is joined here and nowhere else."""
