"""The folder of a run, as everything that reads one sees it."""
