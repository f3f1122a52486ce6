"""The log on Kafka, and Faust on it."""
