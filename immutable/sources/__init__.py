"""Outside inputs: fetching pinned bytes, and the indexes that `lock` resolves them from."""
