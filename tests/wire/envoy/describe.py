"""Print the fields of Envoy's official messages as JSON; runs in `.venv-xds`, alone.

    .venv-xds/bin/python tests/wire/envoy/describe.py NAME ...

Only there: `xds-protos` owns the package `envoy`, as the Envoy binary's does.
"""

import importlib
import json
import sys

from google.protobuf import descriptor_pool

for _module in (
    "envoy.service.auth.v3.external_auth_pb2",
    "envoy.service.accesslog.v3.als_pb2",
    "envoy.config.core.v3.base_pb2",
    "google.rpc.status_pb2",
):
    importlib.import_module(_module)


def _describe(name: str) -> dict[str, list[object]]:
    message = descriptor_pool.Default().FindMessageTypeByName(name)
    return {
        field.name: [
            field.number,
            field.type,
            field.is_repeated,
            field.message_type.full_name if field.message_type else "",
            field.containing_oneof.name if field.containing_oneof else "",
        ]
        for field in message.fields
    }


if __name__ == "__main__":
    print(json.dumps({name: _describe(name) for name in sys.argv[1:]}))  # noqa: T201
