"""Images of one source that are the same as images of others."""
