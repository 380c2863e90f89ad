"""What a run writes for people and machines, all of it made from the journal."""
