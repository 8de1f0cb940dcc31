"""From tensors to scalars; they know no model and no data."""
