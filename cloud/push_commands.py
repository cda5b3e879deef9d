"""homeport-cloud push: the job's image to the account's registry, and what it is called there."""
