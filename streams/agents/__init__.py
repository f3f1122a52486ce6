"""The Faust app and its agents, each generic over what it is given."""
