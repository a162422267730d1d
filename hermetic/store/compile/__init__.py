"""What a compile cache keeps: compiled objects by its own keys, on disk and in a bucket."""
