"""Model families: image to maps to segments, one `nn.Module` each."""
