"""Crop sets: people cut out of video, on disk, with the provenance of every crop."""
