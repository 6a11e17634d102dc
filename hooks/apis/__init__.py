"""What forges are asked and told: their APIs, as calls that are values."""
