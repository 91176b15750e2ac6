"""Do gates fall where accessible regions begin and end? Profiles, null, effect sizes, verdict."""
