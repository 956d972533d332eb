"""What a command does once its options are read: settings, talks, an inference run or a server, the run folder."""
