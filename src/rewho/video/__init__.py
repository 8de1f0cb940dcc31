"""Frames to boxes of people: reading videos safely, screening, detectors, key points, and rules on what to keep."""
