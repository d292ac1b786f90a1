"""What a pool buys: the same work on real resources with it and without it."""
