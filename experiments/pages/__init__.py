"""The pages of docs/results and the tables of the README, made of the rows that are kept."""
