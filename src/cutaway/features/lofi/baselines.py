"""Baselines in LoFi's own interface: deep NNGP, random features, linear ridge, and gradient descent on the same widths.

Each is a scikit-learn classifier or regressor over one signal encoding (`labels`), so that a comparison changes
nothing but the features. Deep NNGP: K_{l+1} = k(K_l / mean diagonal), no reduction (arXiv 2605.13612, baseline).
Ridge strength: `alpha`, or "auto" by a held-out fold as in LoFi.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from cutaway.arrays import Array
from cutaway.features.lofi.dual_kernels import cross_kernel, gram_kernel
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.fitting import hold_out
from cutaway.features.lofi.labels import class_signals
from cutaway.features.lofi.parameters import checked_integer, checked_number, ridge
from cutaway.features.lofi.readout import ALPHAS, dual_readout, linear_ridge, linear_ridges

JUDGES = 4096  # held-out rows at most that choose the rate and the number of steps of gradient descent


class _Baseline(ClassifierMixin, BaseEstimator):
    """Fits `_fit(points, targets)` and predicts the class of the largest output."""

    def fit(self, X: Any, y: Any) -> Any:
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self._check()
        self.classes_, codes = np.unique(y, return_inverse=True)
        if self.classes_.size < 2:
            raise EstimatorInputError(
                "labels y",
                found="one class only",
                expected="at least two classes",
                remedy="give rows of at least two classes",
            )
        targets = class_signals(codes, self.classes_.size).targets
        self._fit(X, targets, codes)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self, "classes_")
        points: Any = validate_data(self, X, dtype=np.float64, reset=False)
        out = self._outputs(points)
        index = (out[:, 0] > 0).astype(int) if self.classes_.size == 2 else out.argmax(axis=1)
        return self.classes_[index]

    def _check(self) -> None:
        """Refuse parameters that cannot be meant."""

    def _fit(self, points: Array, targets: Array, codes: NDArray[np.intp]) -> None:
        raise NotImplementedError

    def _outputs(self, points: Array) -> Array:
        raise NotImplementedError


def deep_gram(inputs: Array, depth: int, activation: str) -> tuple[Array, list[float], list[Array]]:
    """Gram matrix (n, n) of the infinitely wide network, the scale of each layer, and the diagonal going into each."""
    scale = float(np.mean(np.einsum("nq,nq->n", inputs, inputs)))
    gram = gram_kernel(inputs / np.sqrt(scale), activation)
    scales, diagonals = [scale], []
    for _ in range(depth - 1):
        scale = float(np.mean(np.diagonal(gram)))
        gram /= scale
        diagonals.append(np.diagonal(gram).copy())
        _recurse(gram, diagonals[-1], diagonals[-1])
        scales.append(scale)
    return gram, scales, diagonals


def deep_cross(points: Array, inputs: Array, activation: str, scales: list[float], diagonals: list[Array]) -> Array:
    """Kernel (m, n) between new points and the training inputs, with the training scales."""
    root = np.sqrt(scales[0])
    cross = cross_kernel(points / root, inputs / root, activation)
    own = np.einsum("nq,nq->n", points, points) / scales[0] / 2.0
    for scale, diagonal in zip(scales[1:], diagonals):
        cross /= scale
        own = own / scale
        _recurse(cross, own, diagonal)
        own = own / 2.0
    return cross


def _recurse(matrix: Array, left: Array, right: Array) -> None:
    """In place, row blocks: the arc-cosine step from inner products and squared norms."""
    for start in range(0, matrix.shape[0], 256):
        rows = slice(start, start + 256)
        length = np.sqrt(np.maximum(left[rows, None] * right[None, :], 1e-300))
        cosine = np.clip(matrix[rows] / length, -1.0, 1.0)
        sine = np.sqrt((1.0 - cosine) * (1.0 + cosine))
        matrix[rows] = length * (sine + (np.pi - np.arccos(cosine)) * cosine) / (2.0 * np.pi)


class DeepNNGPClassifier(_Baseline):
    """Ridge on the NNGP kernel of a ReLU network of `n_layers` layers without any reduction."""

    def __init__(
        self, *, n_layers: int = 3, alpha: Any = "auto", validation_fraction: float = 0.2, random_state: int = 0
    ) -> None:
        self.n_layers = n_layers
        self.alpha = alpha
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _check(self) -> None:
        checked_integer("n_layers", self.n_layers, 1)
        ridge("alpha", self.alpha)

    def _fit(self, points: Array, targets: Array, codes: NDArray[np.intp]) -> None:
        self._points = points
        gram, self._scales, self._diagonals = deep_gram(points, self.n_layers, "relu")
        self.alpha_ = self.alpha
        if self.alpha == "auto":
            mask = hold_out(len(codes), codes, self.validation_fraction, np.random.default_rng(self.random_state))
            inner, outer = gram[np.ix_(~mask, ~mask)], gram[np.ix_(mask, ~mask)]

            def loss(alpha: float) -> float:
                dual, intercept = dual_readout(inner, targets[~mask], alpha)
                return float(np.mean((outer @ dual + intercept - targets[mask]) ** 2))

            self.alpha_ = min(ALPHAS, key=loss)
        self._dual, self._intercept = dual_readout(gram, targets, float(self.alpha_))

    def _outputs(self, points: Array) -> Array:
        cross = deep_cross(points, self._points, "relu", self._scales, self._diagonals)
        return cross @ self._dual + self._intercept


class RidgeClassifierOnInputs(_Baseline):
    """Linear ridge on the inputs, alpha by the held-out fold (grid scaled by the mean squared input)."""

    def __init__(self, *, alpha: Any = "auto", validation_fraction: float = 0.2, random_state: int = 0) -> None:
        self.alpha = alpha
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _check(self) -> None:
        ridge("alpha", self.alpha)

    def _fit(self, points: Array, targets: Array, codes: NDArray[np.intp]) -> None:
        self.alpha_ = self.alpha
        if self.alpha == "auto":
            mask = hold_out(len(codes), codes, self.validation_fraction, np.random.default_rng(self.random_state))
            unit = float(np.mean(points**2)) * len(codes) or 1.0
            alphas = unit * 10.0 ** np.arange(-6.0, 2.0)
            losses = [
                float(np.mean((points[mask] @ weights + intercept - targets[mask]) ** 2))
                for weights, intercept in linear_ridges(points[~mask], targets[~mask], alphas.tolist())
            ]
            self.alpha_ = float(alphas[int(np.argmin(losses))])
        self._weights, self._intercept = linear_ridge(points, targets, float(self.alpha_))

    def _outputs(self, points: Array) -> Array:
        return points @ self._weights + self._intercept


class RandomFeatureClassifier(_Baseline):
    """Ridge on one frozen random lift of `width` features: LoFi with a single layer, nothing learned below the
    readout."""

    def __init__(
        self, *, width: int = 2000, activation: str = "relu", alpha: Any = "auto", random_state: int = 0
    ) -> None:
        self.width = width
        self.activation = activation
        self.alpha = alpha
        self.random_state = random_state

    def _fit(self, points: Array, targets: Array, codes: NDArray[np.intp]) -> None:
        from cutaway.features.lofi.estimators import LoFiClassifier

        self._inner = LoFiClassifier(
            mode="finite",
            n_layers=1,
            width=self.width,
            activation=self.activation,
            alpha=self.alpha,
            random_state=self.random_state,
        ).fit(points, codes)

    def _outputs(self, points: Array) -> Array:
        return self._inner.model_.predict(points)


class GradientDescentTwin(_Baseline):
    """A network of LoFi's widths trained whole by gradient descent with momentum on the squared loss.

    Hidden layers `width` wide with ReLU; weights and biases start uniform in +-1/sqrt(fan in), which lets the features
    move (He's wider start trains to the same loss with the features it drew, and loses ten points on a hierarchy);
    inputs centred and divided by their root mean square; full batch, or `batch_size` rows drawn with replacement. The
    rate is the best on the held-out fold after `trial` of the steps among 0.3, 0.1, 0.03, 0.01, the number of steps the
    best on the same fold; with `refit` the network is then trained anew on all rows for that many steps, and dropped
    again should it end worse on them (a large rate on the full batch can). A `batch_size` of 64 does better than the
    full batch.
    Cost: about (4 trial + 2) steps' worth of passes. `learning_rate_`, `best_step_` say what was chosen.
    """

    def __init__(
        self,
        *,
        width: int = 256,
        n_layers: int = 3,
        learning_rate: Any = "auto",
        momentum: float = 0.9,
        steps: int = 1000,
        batch_size: int | None = None,
        trial: float = 0.25,
        refit: bool = True,
        validation_fraction: float = 0.2,
        random_state: int = 0,
    ) -> None:
        self.width = width
        self.n_layers = n_layers
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.steps = steps
        self.batch_size = batch_size
        self.trial = trial
        self.refit = refit
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _check(self) -> None:
        for name in ("width", "n_layers", "steps"):
            checked_integer(name, getattr(self, name), 1)
        if not isinstance(self.learning_rate, str) or self.learning_rate != "auto":
            checked_number("learning_rate", self.learning_rate)

    def _fit(self, points: Array, targets: Array, codes: NDArray[np.intp]) -> None:
        import torch

        if self.batch_size is not None and not 1 <= self.batch_size <= len(codes):
            raise EstimatorInputError(
                "parameter batch_size",
                found=f"{self.batch_size} for {len(codes)} rows",
                expected="between 1 and the number of rows",
                remedy="lower it, or leave it None for full-batch descent",
            )
        mask = hold_out(len(codes), codes, self.validation_fraction, np.random.default_rng(self.random_state))
        self._mean = points.mean(axis=0)
        self._scale = float(np.sqrt(np.mean((points - self._mean) ** 2))) or 1.0
        x = torch.from_numpy((points - self._mean) / self._scale).float()
        t = torch.from_numpy(targets).float()
        held = np.random.default_rng(self.random_state).permutation(np.flatnonzero(mask))[:JUDGES]
        split = torch.from_numpy(np.flatnonzero(~mask)), torch.from_numpy(held)
        rates = [float(self.learning_rate)] if self.learning_rate != "auto" else [0.3, 0.1, 0.03, 0.01]
        if len(rates) > 1:
            trial = max(round(self.trial * self.steps), 10)
            rates.sort(key=lambda rate: self._train(x, t, split, rate, trial)[1])
        self.learning_rate_ = rates[0]
        self._net, loss, self.best_step_ = self._train(x, t, split, rates[0], self.steps)
        if not np.isfinite(loss):
            raise EstimatorInputError(
                "parameter learning_rate",
                found=f"divergence at {rates[0]:g}",
                expected="a rate that training bears",
                remedy="lower it, or standardise the inputs",
            )
        if self.refit and self.best_step_:
            everything = torch.arange(len(codes)), split[1][:0]
            again = self._train(x, t, everything, rates[0], self.best_step_)[0]
            with torch.no_grad():
                losses = [float(((net(x) - t) ** 2).mean()) for net in (again, self._net)]
            self._net = again if losses[0] <= losses[1] else self._net

    def _train(self, x: Any, t: Any, split: tuple[Any, Any], rate: float, steps: int) -> tuple[Any, float, int]:
        """The network at its best step on the held-out rows (at its last, where there are none), the loss there (inf
        where training diverged), and the step."""
        import torch

        train, held = split
        generator = torch.Generator().manual_seed(self.random_state)
        net = _network(x.shape[1], self.width, self.n_layers, t.shape[1], generator)
        optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=self.momentum)
        best, best_step, state = np.inf, 0, {k: v.clone() for k, v in net.state_dict().items()}
        every = max(1, steps // 50)
        for step in range(1, steps + 1):
            rows = train
            if self.batch_size is not None and self.batch_size < train.numel():
                rows = train[torch.randint(train.numel(), (self.batch_size,), generator=generator)]
            optimizer.zero_grad()
            loss = ((net(x[rows]) - t[rows]) ** 2).mean()
            loss.backward()
            optimizer.step()
            if step % every == 0 or step == steps:
                with torch.no_grad():
                    now = float(((net(x[held]) - t[held]) ** 2).mean()) if held.numel() else float(loss)
                if not np.isfinite(now) or now > 1e3:
                    break
                if now < best or not held.numel():
                    best, best_step = now, step
                    state = {k: v.clone() for k, v in net.state_dict().items()}
        net.load_state_dict(state)
        return net, best, best_step

    def _outputs(self, points: Array) -> Array:
        import torch

        with torch.no_grad():
            return self._net(torch.from_numpy((points - self._mean) / self._scale).float()).double().numpy()


def _network(inputs: int, width: int, layers: int, outputs: int, generator: Any) -> Any:
    import torch
    from torch import nn

    sizes = [inputs, *[width] * layers, outputs]
    modules: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        linear = nn.utils.skip_init(nn.Linear, a, b)  # draws nothing from the global generator
        with torch.no_grad():
            for name, shape in (("weight", (b, a)), ("bias", (b,))):
                start = (2.0 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1.0) / a**0.5
                linear.get_parameter(name).copy_(start)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])
