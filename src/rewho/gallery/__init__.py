"""Galleries: everything known about the people seen in one's own footage, searchable, correctable, erasable."""
