"""Archives read strictly: as trees of the store, and as streams to be judged."""
