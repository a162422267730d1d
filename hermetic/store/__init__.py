"""The store: blobs by digest (CAS), results by action key (AC), staged trees, file states."""
