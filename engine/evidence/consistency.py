"""Whether a method's evidence is about that method. The folder of a new method often begins as a copy of another one's, and evidence that was
copied and not changed measures the old method under the new one's name."""

from engine.evidence.experiment import Evidence


def problems_of(evidence: Evidence, method_id: str) -> list[str]:
    """What shows that the evidence in the folder of `method_id` is another method's, as sentences; empty when it is its own."""
    problems = []
    if evidence.method != method_id:
        problems.append(f"The evidence of {method_id} says that it is that of {evidence.method}; set method={method_id!r}.")
    run = {arm.id: arm.spec(0)["method"] for arm in evidence.arms if arm.spec is not None and arm.id != evidence.baseline}
    if method_id not in run.values():
        others = ", ".join(f"{arm} runs {method}" for arm, method in run.items()) or "there are none that run a method"
        problems.append(f"No arm of the evidence of {method_id} but the baseline runs it: {others}.")
    return problems
