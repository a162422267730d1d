"""The one point in time hb knows: every mtime it stages or packs, every date a build may embed."""

SOURCE_DATE_EPOCH = 1_000_000_000  # seconds: 2001-09-09T01:46:40Z
