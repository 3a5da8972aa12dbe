"""When the certificates that are shown here expire, for Prometheus: alert before they do."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pdp.certificates import Renewed


class CertificateCollector(Collector):
    """A gauge for each port that has a certificate (None: it has none)."""

    def __init__(self, certificates: Mapping[str, Renewed | None]) -> None:
        self._certificates = {port: tls for port, tls in certificates.items() if tls is not None}

    def collect(self) -> Iterable[Metric]:
        """Look at the files and yield the family."""
        family = GaugeMetricFamily(
            "pdp_tls_certificate_expiry_timestamp_seconds",
            "When the certificate expires (Unix time): of the gRPC port, and of the line to the "
            "control plane.",
            labels=("port",),
        )
        for port, tls in self._certificates.items():
            tls.renew()
            if tls.pems.expires is not None:
                family.add_metric((port,), tls.pems.expires.timestamp())
        yield family
