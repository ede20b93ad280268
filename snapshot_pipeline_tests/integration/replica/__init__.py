"""A real streaming replica: behind, paused, promoted, in conflict with what is read."""
