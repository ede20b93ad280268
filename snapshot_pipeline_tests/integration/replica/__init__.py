"""A real streaming replica: lagging, paused, unreachable, or with recovery conflicts."""
