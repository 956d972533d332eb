"""Scoring of runs: OmniSTEval figures, recogniser errors, signatures, tables; `alignatt score`, `alignatt compare`."""
