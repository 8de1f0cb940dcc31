"""The papers' tables: which runs they need, and our figures beside the paper's."""
