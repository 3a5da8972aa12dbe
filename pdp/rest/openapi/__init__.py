"""The API's description: schemas, examples and the document made of them."""
