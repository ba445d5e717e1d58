"""The pages of staff and members, and how they are served."""
