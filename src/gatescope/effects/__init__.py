"""What changes when a base or a gate changes? Interventions on gates, decomposition of their logits."""
