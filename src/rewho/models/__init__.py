"""Networks; they know no loss and no data."""
