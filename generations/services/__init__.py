"""The verbs of datasets, runs, generations and images."""
