"""A window on this machine: one trajectory as the large model, the small one, and both stitched take it."""
