"""What a flat graph is made of: its logits, parameters, blocks, feature maps, batch norms."""
