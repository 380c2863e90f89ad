"""The deploy pipeline, as a small CI server: it runs the steps of a deployment and reports how they went."""
