"""Which memories have known answers? Hand-weighted cells, checked through the tracer of trained networks."""
