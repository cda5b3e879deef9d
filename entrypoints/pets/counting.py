"""What a batch, and all of a validation, comes to."""

import torch
from torch.nn.functional import cross_entropy


def hits(logits, labels, best=1):
    """How many images have their own class among the best."""
    return (logits.topk(min(best, logits.shape[1])).indices == labels[:, None]).sum()


def epoch_metrics(seen, totals, images, seconds):
    """What the report says of an epoch: `seen` are the loss and accuracy of each step, `totals` validate()'s sums."""
    return {
        "train_loss": float(seen[:, 0].mean()),
        "train_accuracy": float(seen[:, 1].mean()),
        "val_loss": float(totals[0] / totals[3]),
        "val_accuracy": float(totals[1] / totals[3]),
        "val_top5": float(totals[2] / totals[3]),
        "seconds": seconds,
        "images_per_second": images / seconds,
    }


@torch.no_grad()
def validate(model, batches, device):
    """Sums over this rank's images: of losses, of right answers, of those right among five, and of ones."""
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64)
    for images, labels, _ in batches:
        logits = model(images.to(device)).cpu()
        loss = cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([loss, hits(logits, labels), hits(logits, labels, 5), torch.tensor(len(labels))])
    return sums
