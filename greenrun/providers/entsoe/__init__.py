"""ENTSO-E's Transparency Platform."""
