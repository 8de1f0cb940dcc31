"""Figures, sheets and the HTML pages that show results."""
