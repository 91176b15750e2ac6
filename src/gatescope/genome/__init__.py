"""What is at this place? Bases, contigs, regions and folds of one genome."""
