"""What a training job is, in CreateTrainingJob's words. Pure: no engine, no clock, no network."""
