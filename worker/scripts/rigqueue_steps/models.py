"""The four kinds of model. Each imports its own library alone, when it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .trial import Params, StepError, note

# What a library would import only to support what is not used here: two thirds of its start.
NEEDLESS = {
    "lightgbm": ("pandas", "sklearn", "matplotlib", "graphviz", "dask", "pyarrow", "cffi"),
    "xgboost": ("pandas", "sklearn", "matplotlib", "graphviz", "dask", "pyarrow", "cudf"),
    "catboost": ("matplotlib", "graphviz", "plotly", "sklearn"),
    "sklearn": ("pandas", "matplotlib", "pyarrow", "polars"),
}
CELLS = 200_000  # A table with fewer of them is not worth a second core.
NEURAL = "layers, units, dropout, learning_rate, batch_size, epochs, weight_decay"


class Model(Protocol):
    """A model that has learned."""

    def predict(self, features: np.ndarray) -> np.ndarray: ...

    def save(self, path: Path) -> None: ...


def threads(table: np.ndarray) -> int:
    """How many cores may work on a table: as many as the worker says, and no more than pay. What
    comes of it does not depend on them."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    allowed = int(text) if text.isdigit() else 1
    return max(1, min(allowed, table.size // CELLS))


def bound_to_gpu() -> bool:
    """Whether this script's slot is a GPU: its worker names it, and shows it alone."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("ROCR_VISIBLE_DEVICES")
    return bool(shown and os.environ.get("RIGQUEUE_DEVICE"))


def lean(library: str) -> Any:
    """Imports a library without what it does not need."""
    # Threads that wait must not take the core that others work on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    absent = [name for name in NEEDLESS.get(library, ()) if name not in sys.modules]
    if library not in sys.modules:
        # What is None there can't be imported.
        sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        return import_module(library)
    except ImportError as error:
        raise StepError(f"{library} can't be imported ({error}): see worker/scripts/requirements.txt") from None
    finally:
        for name in absent:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


class Learner:
    """Learns with one kind of model: on a GPU while that works, then on processors."""

    def __init__(self, kind: str, params: dict[str, Any], gpu: bool | None = None) -> None:
        if kind not in KINDS:
            raise StepError(f"there is no model {kind!r}; there are: {', '.join(KINDS)}")
        self.kind, self.params = kind, params
        self.gpu = bound_to_gpu() if gpu is None else gpu
        self.prepare = KINDS[kind]

    def fit(self, features: np.ndarray, targets: np.ndarray, seed: int) -> Model:
        """A model of these; the same for the same seed and parameters, on the same machine."""
        if self.gpu:
            try:
                return self.prepare(features, targets, dict(self.params), seed, True)
            except StepError:
                raise
            except Exception as error:  # each library has errors of its own.
                first = " ".join(str(error).split())[:200]
                note(f"{self.kind} does without the GPU: {first}")
                self.gpu = False
        try:
            return self.prepare(features, targets, dict(self.params), seed, False)
        except (StepError, MemoryError):
            raise
        except Exception as error:  # each library has errors of its own.
            raise StepError(f"{self.kind} refuses: {' '.join(str(error).split())[:500]}") from error


class _Lightgbm:
    def __init__(self, features: np.ndarray, targets: np.ndarray, params: dict[str, Any], seed: int, gpu: bool):
        lightgbm = lean("lightgbm")
        rounds = int(params.pop("n_estimators", 100))
        if rounds < 1:
            raise StepError(f"the parameter n_estimators is {rounds}; it must be at least 1")
        own = {
            "objective": "regression", "num_leaves": 15, "min_child_samples": 10, "verbosity": -1,
            **params, "seed": seed, "num_threads": threads(features), "deterministic": True, "force_row_wise": True,
        }  # fmt: skip
        if gpu:
            del own["force_row_wise"], own["deterministic"]
            own |= {"device_type": "gpu", "gpu_use_dp": True}
        if "subsample" in own:
            own.setdefault("subsample_freq", 1)
        self.booster = lightgbm.train(own, lightgbm.Dataset(features, targets, params={"verbosity": -1}), rounds)

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.booster.predict(features, num_threads=threads(features))

    def save(self, path: Path) -> None:
        self.booster.save_model(str(path))


class _Xgboost:
    def __init__(self, features: np.ndarray, targets: np.ndarray, params: dict[str, Any], seed: int, gpu: bool):
        self.xgboost = xgboost = lean("xgboost")
        if gpu and not xgboost.build_info().get("USE_CUDA"):
            raise RuntimeError("this build of xgboost has no GPU support (it is xgboost-cpu)")
        rounds = int(params.pop("n_estimators", 100))
        own = {
            "objective": "reg:squarederror", "max_depth": 4, "learning_rate": 0.1, "verbosity": 0,
            "tree_method": "hist", **params, "seed": seed, "nthread": threads(features),
            "device": "cuda" if gpu else "cpu",
        }  # fmt: skip
        self.booster = xgboost.train(own, xgboost.DMatrix(features, targets, nthread=threads(features)), rounds)

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.booster.predict(self.xgboost.DMatrix(features, nthread=threads(features)))

    def save(self, path: Path) -> None:
        path.write_bytes(self.booster.save_raw(raw_format="ubj"))


class _Catboost:
    def __init__(self, features: np.ndarray, targets: np.ndarray, params: dict[str, Any], seed: int, gpu: bool):
        catboost = lean("catboost")
        own = {
            "loss_function": "RMSE", "iterations": params.pop("n_estimators", 100), "depth": 4, **params,
            "random_seed": seed, "thread_count": threads(features), "verbose": False, "allow_writing_files": False,
            "task_type": "GPU" if gpu else "CPU",
        }  # fmt: skip
        if own.get("bootstrap_type", "MVS") == "Bayesian":
            own.pop("subsample", None)
        self.model = catboost.CatBoostRegressor(**own).fit(features, targets)

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict(features, thread_count=threads(features))

    def save(self, path: Path) -> None:
        self.model.save_model(str(path))


class Shape:
    """The architecture of a neural net, out of its parameters."""

    def __init__(self, params: dict[str, Any]) -> None:
        layers = params.pop("layers", 2)
        if isinstance(layers, str):
            layers = [int(part) if part.strip().isdigit() else 0 for part in layers.replace("-", ",").split(",")]
        taken = Params(params)
        units = taken.whole("units", 32, 1, 4096)
        if isinstance(layers, int) and not isinstance(layers, bool):
            layers = [units] * layers
        sizes = isinstance(layers, list) and all(isinstance(n, int) and 1 <= n <= 4096 for n in layers)
        if not sizes or not 1 <= len(layers) <= 8:
            raise StepError("the parameter layers must be 1 to 8 layers: a number, a list of sizes, or '64-32'")
        self.layers: list[int] = layers
        self.dropout = taken.number("dropout", 0.0, 0.0, 0.9)
        self.learning_rate = taken.number("learning_rate", 0.005, 1e-7, 10.0)
        self.batch_size = taken.whole("batch_size", 128, 1, 1 << 20)
        self.epochs = taken.whole("epochs", 20, 1, 100_000)
        self.weight_decay = taken.number("weight_decay", 1e-4, 0.0, 100.0)
        taken.end(NEURAL)


class _Scaled:
    """Features and targets as a net likes them: centred, of unit spread."""

    def __init__(self, features: np.ndarray, targets: np.ndarray) -> None:
        self.mean, spread = features.mean(axis=0), features.std(axis=0)
        self.spread = np.where(spread > 1e-12, spread, 1.0)
        self.target_mean, target_spread = float(targets.mean()), float(targets.std())
        self.target_spread = target_spread if target_spread > 1e-12 else 1.0

    def features(self, features: np.ndarray) -> np.ndarray:
        return np.clip((features - self.mean) / self.spread, -10, 10).astype(np.float32)

    def targets(self, targets: np.ndarray) -> np.ndarray:
        return ((targets - self.target_mean) / self.target_spread).astype(np.float32)

    def back(self, predicted: np.ndarray) -> np.ndarray:
        return np.asarray(predicted, dtype=np.float64) * self.target_spread + self.target_mean

    def arrays(self) -> dict[str, Any]:
        of_targets = np.array([self.target_mean, self.target_spread])
        return {"mean": self.mean, "spread": self.spread, "target": of_targets}


class _Sklearn:
    """scikit-learn's multi-layer perceptron, which knows no dropout."""

    def __init__(self, features: np.ndarray, targets: np.ndarray, shape: Shape, seed: int):
        import warnings

        lean("sklearn")
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        if shape.dropout:
            note("scikit-learn's neural net has no dropout: it is left out (install PyTorch for it)")
        self.scaled = _Scaled(features, targets)
        self.net = MLPRegressor(
            hidden_layer_sizes=tuple(shape.layers), alpha=shape.weight_decay, learning_rate_init=shape.learning_rate,
            batch_size=min(shape.batch_size, len(features)), max_iter=shape.epochs, random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            # It learns for as many epochs as it is told.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.net.fit(self.scaled.features(features), self.scaled.targets(targets))

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.scaled.back(self.net.predict(self.scaled.features(features)))

    def save(self, path: Path) -> None:
        weights = {f"weight_{n}": weight for n, weight in enumerate(self.net.coefs_)}
        biases = {f"bias_{n}": bias for n, bias in enumerate(self.net.intercepts_)}
        with path.open("wb") as file:
            np.savez(file, **weights, **biases, **self.scaled.arrays())


class _Torch:
    """The same with PyTorch."""

    def __init__(self, torch: Any, features: np.ndarray, targets: np.ndarray, shape: Shape, seed: int, gpu: bool):
        if gpu and not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU")
        torch.set_num_threads(threads(features))
        torch.manual_seed(seed)
        # The order in which rows are seen; the nets' weights come from the seed above.
        order = np.random.default_rng(seed)
        self.torch, self.device = torch, torch.device("cuda" if gpu else "cpu")
        self.scaled = _Scaled(features, targets)
        parts: list[Any] = []
        width = features.shape[1]
        for units in shape.layers:
            parts += [torch.nn.Linear(width, units), torch.nn.ReLU(), torch.nn.Dropout(shape.dropout)]
            width = units
        self.net = torch.nn.Sequential(*parts, torch.nn.Linear(width, 1)).to(self.device)
        rows = torch.from_numpy(self.scaled.features(features)).to(self.device)
        wanted = torch.from_numpy(self.scaled.targets(targets)).to(self.device)
        step = torch.optim.AdamW(self.net.parameters(), shape.learning_rate, weight_decay=shape.weight_decay)
        self.net.train()
        for _ in range(shape.epochs):
            places = torch.from_numpy(order.permutation(len(rows))).to(self.device)
            for batch in places.split(shape.batch_size):
                step.zero_grad()
                loss = torch.nn.functional.mse_loss(self.net(rows[batch]).squeeze(1), wanted[batch])
                loss.backward()
                step.step()
        self.net.eval()

    def predict(self, features: np.ndarray) -> np.ndarray:
        rows = self.torch.from_numpy(self.scaled.features(features)).to(self.device)
        with self.torch.no_grad():
            return self.scaled.back(self.net(rows).squeeze(1).cpu().numpy())

    def save(self, path: Path) -> None:
        scaled = {name: self.torch.from_numpy(array) for name, array in self.scaled.arrays().items()}
        self.torch.save({"net": self.net.state_dict(), **scaled}, path)


def _neural(features: np.ndarray, targets: np.ndarray, params: dict[str, Any], seed: int, gpu: bool) -> Model:
    shape = Shape(params)
    try:
        torch = import_module("torch")
    except ImportError:
        if gpu:
            raise RuntimeError("PyTorch is not installed") from None
        try:
            return _Sklearn(features, targets, shape, seed)
        except ImportError as error:
            raise StepError(f"neither PyTorch nor scikit-learn can be imported: {error}") from None
    return _Torch(torch, features, targets, shape, seed, gpu)


KINDS: dict[str, Callable[[np.ndarray, np.ndarray, dict[str, Any], int, bool], Model]] = {
    "neural_net": _neural,
    "lightgbm": _Lightgbm,
    "xgboost": _Xgboost,
    "catboost": _Catboost,
}
