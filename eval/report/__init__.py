"""``alignatt report RUN…``: scored runs as one self-contained HTML page with a replay of every talk."""
