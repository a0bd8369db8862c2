"""Template tags of a project's own pages."""
