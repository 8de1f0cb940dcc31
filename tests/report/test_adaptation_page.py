"""The page of an adaptation."""

import numpy as np

from rewho.report.adaptation_page import AdaptationReport, adaptation_page, distance_plot

EPOCHS = [
    {"epoch": 0, "mAP": 0.1, "rank_1": 0.2},
    {"epoch": 1, "clusters": 30.0, "outliers": 0.5, "trained_on": 0.4, "silhouette": 0.1, "total": 3.0},
    {"epoch": 2, "clusters": 35.0, "outliers": 0.3, "trained_on": 0.6, "silhouette": 0.2, "mAP": 0.3, "rank_1": 0.4},
]


def page(**changes) -> str:
    given = {"epochs": EPOCHS, "curve": np.linspace(0.1, 0.8, 50), "bend": 0.5, "eps": 0.6}
    return adaptation_page(AdaptationReport("Adaptation to <people>", **{**given, **changes}))


def test_the_last_epoch_is_shown_and_names_are_escaped():
    text = page(clusters=[("3 images of <2> cameras", b"\xff\xd8\xff")], made_with={"seed": 1})
    assert "Adaptation to &lt;people&gt;" in text and "<people>" not in text
    assert "3 images of &lt;2&gt; cameras" in text
    assert text.count("<tr>") == 1 + len(EPOCHS)
    assert "35" in text
    for shown in ("30.0 %", "Rank-1", "40.0 %", "trained on"):
        assert shown in text
    assert "rank_1" not in text
    assert "Clusters and labels" not in text  # there were none


def test_the_interval_over_people_is_shown_and_figures_are_short():
    text = page(scores={"after the last epoch": "mAP 30.00 (95 % over 9 people: 21.00 – 38.00)"})
    assert "95 % over 9 people: 21.00 – 38.00" in text
    assert "0.0258" in page(epochs=[{"epoch": 1, "camera_nmi": 0.025812}])


def test_without_labels_and_epochs_there_is_still_a_page():
    text = page(epochs=EPOCHS[1:2], bend=float("nan"))
    assert "Scores on the test part" not in text
    assert "Distance to the nearest images" in page(epochs=[])


def test_the_same_curve_gives_the_same_picture():
    curve = np.linspace(0, 0.8, 20)
    assert distance_plot(curve, 0.5, 0.6).svg == distance_plot(curve, 0.5, 0.6).svg
    assert distance_plot(curve, 0.5, 0.6).svg != distance_plot(curve, float("nan"), 0.6).svg
