"""Answers the wandb client's GraphQL."""
