"""Special ids of people and cameras, and COCO's keypoints."""

JUNK = -1
"""Person id of an image that is dropped from every ranking (Market-1501's -1)."""
DISTRACTOR = -2
"""Person id of an image that stays in the gallery and never matches (Market-1501's 0)."""
UNKNOWN_CAMERA = -1
"""Camera id of an image whose camera is not known; such an image is never excluded because of its camera."""
FEW_PEOPLE = 20
"""With fewer people, or clusters, commands can be tried, and no model can be relied on."""
KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's 17 keypoints in COCO's order; left and right are the person's own."""
RENDERED = "rendered.json"
"""File that marks a folder of rendered people."""
