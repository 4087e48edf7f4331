"""Expressions and choices that several dashboards share."""

from panels import GREEN, RED, variable

OF = 'job=~"$job",instance=~"$instance"'
JOB = variable("job", "Service", "label_values(otlp_build_info, job)")
INSTANCE = variable("instance", "Instance", 'label_values(otlp_build_info{job=~"$job"}, instance)')
UP_OR_DOWN = {1: ("up", GREEN), 0: ("down", RED)}


def rate(metric, by, more=""):
    """Per second, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{OF}{more}}}[$__rate_interval]))"


def quantiles(metric, more="", which=(0.5, 0.95, 0.99)):
    """Queries for quantiles of a histogram."""
    return [(f"histogram_quantile({q}, {rate(metric + '_bucket', 'le', more)})", f"p{int(q * 100)}") for q in which]


def known(metric, by="dataset"):
    """Of what every process says of the catalog's content."""
    return f"max by ({by}) ({metric}{{{OF}}})"


def share(part, whole):
    return f"({part}) / ({whole})"


def age(metric):
    return f"time() - {known(metric)}"
