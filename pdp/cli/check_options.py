"""What `pdp check` takes of a request."""

from typing import Annotated

import typer

_MOST = 2**63 - 1

Action = Annotated[
    str,
    typer.Option(help="What is done: `chat:completions`, `embeddings:create`: docs/policy.md."),
]
Model = Annotated[str, typer.Option(help="The model that is asked for.")]
Provider = Annotated[str, typer.Option(help="Who runs it; default: derived from the model.")]
IpAddress = Annotated[
    str, typer.Option(help="Address of the client; default: none, which no allowlist admits.")
]
PromptTokens = Annotated[
    int, typer.Option(metavar="NUMBER", min=0, max=_MOST, help="Size of the prompt, in tokens.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=0,
        max=_MOST,
        help="Bound of the output, in tokens; default: what the server's "
        "PDP_DEFAULT_OUTPUT_TOKENS says.",
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="For `metadata_equals`; more than once."),
]
ApiKeyEnv = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The variable that has the raw key: no argument does, for others could see it.",
    ),
]
ApiKeyStdin = Annotated[
    bool, typer.Option("--api-key-stdin", help="Read the raw key from stdin instead.")
]
Reserve = Annotated[
    bool,
    typer.Option(
        "--reserve/--dry-run",
        help="Check for real: an allowed request holds its cost, and is charged it when nobody "
        "reports. Or decide, explain and move nothing.",
    ),
]
