"""``alignatt sweep SPEC.yaml``: many settings on the same recognised words, on one machine, Ray or Slurm."""
