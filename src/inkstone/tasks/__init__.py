"""What people do with a model: one file per job, each a function, a command and a method of `LanguageModel`."""
