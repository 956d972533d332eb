"""Figures: OmniSTEval, COMET, word error rate, intervals."""
