"""Glue between the metric and the bindings that `build.sh` generates from `wit/`. Formulas don't belong here."""

from componentize_py_types import Err, Ok, Result
from wit_world import exports
from wit_world.exports.metric import Descriptor, Level, MetricScore
from wit_world.imports.types import Error, Sample

import formula

# The metric of this instance. The host asks for a description before it gives options.
_metric = formula.Metric()


def _attempt(call) -> Result:
    """One item's outcome: its failure is a value and leaves the others alone."""
    try:
        return Ok(call())
    except formula.PluginError as error:
        return Err(Error(error.code, error.message))


class Metric(exports.Metric):
    """The exported interface; its functions are documented in `wit/metric.wit`."""

    def describe(self) -> Descriptor:
        return Descriptor(
            name=formula.NAME,
            version=formula.VERSION,
            summary=formula.SUMMARY,
            minimum=0.0,
            maximum=1.0,
            higher_is_better=True,
            unit="",
            components=[],
            aggregation="additive",
            headline="mean",
            statistics_length=2,
            needs=["references"],
            citation="",
            signature=_metric.signature(),
            extra=[],
        )

    def configure(self, options: str) -> None:
        global _metric
        try:
            _metric = formula.Metric.from_options(options)
        except formula.PluginError as error:
            raise Err(Error(error.code, error.message)) from None

    def measure(self, samples: list[Sample]) -> list[Result[list[float], Error]]:
        return [_attempt(lambda: _metric.measure(sample)) for sample in samples]

    def score(self, statistics: list[list[float]], level: Level) -> list[Result[MetricScore, Error]]:
        # A mean is computed alike for one sample and for a corpus, so the level doesn't matter.
        return [_attempt(lambda: MetricScore(_metric.score(numbers), [], [])) for numbers in statistics]

    def score_corpus(self, samples: list[Sample]) -> MetricScore:
        raise Err(Error("unsupported", "this metric adds: call `measure` and `score`"))
