"""What analysts read: people now, heatmaps, zone tables, results."""
