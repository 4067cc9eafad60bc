"""The diagonal of the Fisher information of a classifier's output."""

from __future__ import annotations

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    import torch

__all__ = ["hess"]


def hess(model: torch.nn.Module, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns Σ p(c)·(∂ log p(c) / ∂w)² over the classes c of one example, for each parameter.

    logits: of one example, with their graph, which is kept.
    """
    import torch

    logits = logits.reshape(-1)
    logs = torch.log_softmax(logits, dim=-1)
    shares = logs.detach().exp()
    parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters}
    for log, share in zip(logs, shares):
        gradients = torch.autograd.grad(
            log, [p for _, p in parameters], retain_graph=True, allow_unused=True
        )
        for (name, _), gradient in zip(parameters, gradients):
            if gradient is not None:
                total[name] += share * gradient.detach().square()
    return total
