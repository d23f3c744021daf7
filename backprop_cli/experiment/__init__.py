"""A config brought to life: its data, its training, and what is made of many trainings."""
