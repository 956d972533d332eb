"""A submission to the simultaneous track as one tarball: ``alignatt submission build`` and ``… check``."""
