"""Speech recognition: recognisers behind one contract (`agent.asr.contract`)."""
