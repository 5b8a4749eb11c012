"""One job, from its model to its run folder."""
