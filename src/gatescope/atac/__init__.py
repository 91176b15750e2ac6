"""Where did Tn5 cut? Fragments, the Tn5 shift, and bigWig tracks in and out."""
