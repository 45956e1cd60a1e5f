"""What a precision below fp32 may change of a trunk's answers. One that changes more is neither packed nor used."""

# Against fp32 on the same pictures, as shares: none of them took part in quantising (training.quantise).
LIMITS = {
    "balanced_accuracy_change": 0.003,
    "unseen_balanced_accuracy_change": 0.003,
    "verdicts_changed": 0.005,
    "calibration_error_change": 0.01,
}


def missed(figures: dict[str, float]) -> list[str]:
    """A line for each figure beyond its limit; a figure that was not measured is one too."""
    lines = []
    for name, limit in LIMITS.items():
        value = figures.get(name)
        if value is None:
            lines.append(f"{name} was not measured")
        elif not abs(value) <= limit:
            lines.append(f"{name} is {value:+.4f}, the limit {limit}")
    return lines
