"""Figures of the lab itself: what a stack costs, and where the time of a run goes."""
