"""The coordinator as a process: the only place that names its store, its links and its files."""
