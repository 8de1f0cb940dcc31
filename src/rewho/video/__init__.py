"""Frames to boxes of people: reading videos safely, screening, detectors, keypoints, and rules on what to keep."""
