"""Records of runs and ensembles on disk, their checksums, and stored predictions image by image. No torch."""
