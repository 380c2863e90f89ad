"""A stack for people: `runlab up`, `runlab inject`, and what pytest's --keep leaves standing."""
