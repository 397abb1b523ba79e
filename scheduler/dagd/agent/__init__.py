"""Floor 4: the agent. One per host and home: it owns worker slots, forks tries, kills trees and spools results."""
