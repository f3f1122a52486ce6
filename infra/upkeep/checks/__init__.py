"""What doctor checks, part by part."""
