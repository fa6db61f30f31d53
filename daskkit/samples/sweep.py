"""Sample `sweep`: the best parameters of a model, by cross-validation.

How strongly should a regression be held back, and how many products of its variables
should it see? Each combination is fitted three times, to two thirds of the patients,
and judged by the last third: the loop that `sklearn.model_selection.GridSearchCV` runs
with joblib. Items are combinations; all use the same split. Those with many products
cost twice as much as those with few. The vectorised form knows that one decomposition
of the variables serves all strengths.

Data: the diabetes data that scikit-learn brings along (442 patients).

References
----------
Efron, B., Hastie, T., Johnstone, I. and Tibshirani, R. (2004). Least angle regression.
The Annals of Statistics 32(2), 407-499.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from daskkit.checks import check_close
from daskkit.errors import BackendUnavailableError
from daskkit.records import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "SIZES",
    "SUMMARY",
    "Parameters",
    "Score",
    "ScoreAll",
    "Trial",
    "find_best",
    "is_available",
    "make_workload",
]

SUMMARY: Final = "parameter search with scikit-learn (cross-validation)"

#: How many strengths of regularisation are tried with each degree.
SIZES: Final[Mapping[str, int]] = {"small": 4, "full": 40}

#: Degrees of the polynomials of the variables.
DEGREES: Final = (1, 2, 3)

#: Parts that the patients are cut into.
N_FOLDS: Final = 3


class Parameters(NamedTuple):
    """One item: the parameters of a model."""

    #: Highest degree of the products of variables.
    degree: int
    #: Strength of regularisation.
    alpha: float


class Trial(NamedTuple):
    """How good a model is."""

    #: Mean coefficient of determination over the folds; 1 at best.
    score: float
    #: Of the model.
    parameters: Parameters


def is_available() -> bool:
    """Return whether scikit-learn is installed.

    Returns
    -------
    bool
    """
    import importlib.util

    return importlib.util.find_spec("sklearn") is not None


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is the best `Trial`.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`: 12 combinations, or 120.

    Returns
    -------
    Workload
        The forms solve the same equations by other ways, so that scores are compared to
        1e-9. Without items there is no answer.

    Raises
    ------
    BackendUnavailableError
        If scikit-learn isn't installed.
    """
    if not is_available():
        msg = (
            "The sample needs scikit-learn, which isn't installed; "
            "pip install 'daskkit[sklearn]'"
        )
        raise BackendUnavailableError(msg)
    from sklearn.datasets import load_diabetes

    variables, target = load_diabetes(return_X_y=True, scaled=False)
    score = Score(variables, target)
    strengths = np.logspace(-2, 4, SIZES[size]).tolist()
    return Workload(
        name="sweep",
        func=score,
        items=[Parameters(degree, alpha) for degree in DEGREES for alpha in strengths],
        combine=find_best,
        vectorized=ScoreAll(score),
        check=check_close(rtol=1e-9),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """A function of parameters, which knows all patients."""

    #: Shape (patients, variables).
    variables: NDArray[np.float64]
    #: What is to be predicted, shape (patients,).
    target: NDArray[np.float64]

    def __call__(self, parameters: Parameters) -> Trial:
        """Return how good a model with these parameters is.

        Parameters
        ----------
        parameters : Parameters
            Of the model.

        Returns
        -------
        Trial
        """
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import KFold, cross_val_score
        from sklearn.pipeline import make_pipeline

        steps = self.make_steps(parameters.degree)
        model = make_pipeline(*steps, Ridge(alpha=parameters.alpha))
        folds = KFold(N_FOLDS, shuffle=True, random_state=0)
        scores = cross_val_score(model, self.variables, self.target, cv=folds)
        return Trial(float(scores.mean()), parameters)

    def make_steps(self, degree: int) -> list[Any]:
        """Return what prepares the variables: scaled, multiplied, scaled again.

        Parameters
        ----------
        degree : int
            Highest degree of the products.

        Returns
        -------
        list of transformer
        """
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        products = PolynomialFeatures(degree, include_bias=False)
        return [StandardScaler(), products, StandardScaler()]


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreAll:
    """A function of all parameters, all strengths of a degree at once."""

    #: What one combination is.
    score: Score

    def __call__(self, items: Sequence[Parameters]) -> Trial | None:
        """Return the best of all combinations.

        Parameters
        ----------
        items : sequence of Parameters
            Any combinations.

        Returns
        -------
        Trial or None
            None without items.

        Notes
        -----
        Computes on one core, as far as NumPy's linear algebra stays on one.
        """
        trials: list[Trial] = []
        for degree in sorted({item.degree for item in items}):
            chosen = [item for item in items if item.degree == degree]
            alphas = np.array([item.alpha for item in chosen])
            scores = [_score_fold(fold, alphas) for fold in self._folds(degree)]
            means = np.mean(scores, axis=0).tolist()
            trials += map(Trial, means, chosen)
        return find_best(trials)

    def _folds(self, degree: int) -> Iterator[tuple[NDArray[np.float64], ...]]:
        """Yield prepared variables and targets of each fold: to fit, and to judge."""
        from sklearn.model_selection import KFold
        from sklearn.pipeline import make_pipeline

        variables, target = self.score.variables, self.score.target
        for fit, judge in KFold(N_FOLDS, shuffle=True, random_state=0).split(variables):
            steps = make_pipeline(*self.score.make_steps(degree))
            fitted = steps.fit_transform(variables[fit])
            judged = steps.transform(variables[judge])
            yield fitted, target[fit], judged, target[judge]


def find_best(results: list[Any]) -> Trial | None:
    """Return the best of several trials, of equals that with the least parameters.

    Parameters
    ----------
    results : list of Trial or None
        In any order; None stands for no result.

    Returns
    -------
    Trial or None
    """
    found = [result for result in results if result is not None]
    return min(found, key=lambda one: (-one.score, one.parameters), default=None)


def _score_fold(
    fold: tuple[NDArray[np.float64], ...], alphas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the coefficient of determination for each strength, from one SVD.

    Hastie, T., Tibshirani, R. and Friedman, J. (2009). The Elements of Statistical
    Learning, 2nd ed., eq. 3.47.
    """
    variables, target, judged, truth = fold
    centre, mean = variables.mean(axis=0), target.mean()
    left, singular, right = np.linalg.svd(variables - centre, full_matrices=False)
    shrunk = singular / (singular**2 + alphas[:, None])
    weights = (shrunk * (left.T @ (target - mean))) @ right
    predicted = weights @ (judged - centre).T + mean
    unexplained = ((truth - predicted) ** 2).sum(axis=1)
    scores: NDArray[np.float64] = 1 - unexplained / ((truth - truth.mean()) ** 2).sum()
    return scores
