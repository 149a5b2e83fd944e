"""The student that the launch form begins with, by what the method makes."""

import pytest
from django.http import QueryDict

from webapp.launching.form import LaunchForm


def chosen(*, before: str, method: str, student: str) -> str:
    """The form's student after a person has changed the method from `before`."""
    sent = QueryDict(mutable=True)
    sent.update({"method": method, "shown_method": before, "task": "digits", "student": student})
    return LaunchForm.typed(sent, changed="method").student


def test_a_data_set_is_distilled_for_a_convnet_and_a_classifier_is_a_small_perceptron():
    assert LaunchForm.first({"method": "mtt", "task": "digits"}).student == "convnet"
    assert LaunchForm.first({"method": "supervised", "task": "digits"}).student == "mlp-16"


@pytest.mark.parametrize(
    ("before", "method", "student", "after"),
    [
        ("supervised", "mtt", "mlp-16", "convnet"),
        ("mtt", "supervised", "convnet", "mlp-16"),
        ("supervised", "mtt", "lenet", "lenet"),
        ("supervised", "ps-kd", "mlp-16", "mlp-16"),
    ],
)
def test_a_new_method_brings_its_usual_student_unless_another_was_chosen(before, method, student, after):
    assert chosen(before=before, method=method, student=student) == after
