"""Where the cells of a grid run, as hydra/launcher says: processes of this machine, Slurm, Ray."""
