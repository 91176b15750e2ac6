"""R of boundaries in plain loops over single bases: slow, obvious, float64."""

import math


def unmasked(state):
    """The positions that are scored, one by one."""
    return [position for position, value in enumerate(state) if value != 255]


def place_of(boundary, scored):
    return sum(position < boundary for position in scored)


def kept_flank(place, edges, flank_bp, dip_bp):
    """Distances of flank bases (base = place + distance) that lie in no edge's zone."""
    distances = [d for d in range(-flank_bp, flank_bp) if not -dip_bp <= d < dip_bp]
    return [d for d in distances if all(not e - dip_bp <= place + d < e + dip_bp for e in edges)]


def slow_r(place, kept, logits, dip_bp):
    """log2 of the share kept near the boundary over the share kept over as many flank bases.

    `logits` are those of the scored bases, from left to right; `kept` comes from `kept_flank`.
    """
    log_f = [math.log(1 / (1 + math.exp(-z))) for z in logits]
    near = math.exp(sum(log_f[place + d] for d in range(-dip_bp, dip_bp)))
    flank = math.exp(2 * dip_bp * sum(log_f[place + d] for d in kept) / len(kept))
    return math.log2(near / flank)
