"""What a run will do, before it starts: work, places, time and costs of every unfinished phase."""
