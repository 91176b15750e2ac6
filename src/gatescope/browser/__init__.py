"""How does a person see it? Tracks, hub, sessions, report."""
