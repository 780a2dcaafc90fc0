"""Watch any PyTorch loop with a few lines: local complexity and robust accuracy of a small network on digits.

python examples/track_any_loop.py; then: cutaway track runs/any-loop, cutaway report runs/any-loop
"""

import torch
from torch import nn

from cutaway.data import load_data
from cutaway.instruments import LocalComplexity, RobustAccuracy
from cutaway.training import LogSpaced, Tracker, open_training
from cutaway.training.story import tell


def main() -> None:
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    instruments = [LocalComplexity(num_points=32, num_directions=8), RobustAccuracy(radius=0.1, steps=5, num_points=60)]
    schedule = LogSpaced(500, 14)  # TimeBudget(0.05, of=LogSpaced(500, 14)) would keep to 5 % of a long run's time
    with Tracker(instruments, schedule, "runs/any-loop", data={"train": train.take(200, 0), "test": test}) as tracker:
        tracker.step(model, 0)
        for step in range(1, 501):
            rows = torch.randint(0, len(train), (64,))
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(train.inputs[rows]), train.labels[rows])
            loss.backward()
            optimiser.step()
            tracker.step(model, step, loss=loss, examples=rows)

    run = open_training("runs/any-loop")
    print(f"tracking took {tracker.share:.0%} of the time")
    for event in tell(run).events:
        when = f" at step {event.onset.step:,.0f}" if event.onset.seen else ""
        print(f"{event.name}{when}: {event.text}")


if __name__ == "__main__":
    main()
