"""Pure: IAM documents, compiled statements, evaluation."""
