"""Remote caches: S3, REAPI and Bazel's HTTP cache behind one protocol, with signed results."""
