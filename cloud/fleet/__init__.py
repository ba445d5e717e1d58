"""The nodes as they report themselves, and what they sent that could not be stored."""
