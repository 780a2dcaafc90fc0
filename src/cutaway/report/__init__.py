"""Reports: charts, words and the self-contained page of a run."""
