"""What steps are made with: compilers, CUDA, Rust, Python; one target per platform they serve."""
