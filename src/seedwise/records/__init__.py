"""What lies on disk: records of runs and ensembles, their checksums, answers image by image. No torch."""
